-- The guard's ledger is a fold of these kinds of rows; runtime/store/src/read.rs reads them by this very condition.
DROP INDEX journal_ledger;
CREATE INDEX journal_ledger ON journal (wall)
    WHERE kind IN ('intended', 'settled', 'relapsed', 'opened', 'staged', 'dependency-returned', 'process-started', 'process-exited', 'reset');
