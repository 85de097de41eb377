-- The journal: one row per entry, never changed, deleted by retention only.
-- `attempt` is the intent a row is about, so that an operator's action outside any incident can be found whole.
CREATE TABLE journal (
    seq      INTEGER PRIMARY KEY,
    wall     INTEGER NOT NULL,
    mono     INTEGER NOT NULL,
    boot     BLOB    NOT NULL,
    node     TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    tenant   TEXT    NOT NULL,
    schema   INTEGER NOT NULL,
    service  TEXT,
    incident BLOB,
    attempt  BLOB,
    kind     TEXT    NOT NULL,
    record   TEXT    NOT NULL
) STRICT;
CREATE INDEX journal_incident ON journal (incident) WHERE incident IS NOT NULL;
CREATE INDEX journal_attempt ON journal (attempt) WHERE attempt IS NOT NULL AND incident IS NULL;
CREATE INDEX journal_loose ON journal (wall) WHERE attempt IS NULL AND incident IS NULL;
CREATE INDEX journal_ledger ON journal (wall)
    WHERE kind IN ('intended', 'settled', 'process-started', 'process-exited', 'reset', 'desired-changed');

-- Projections. All of them can be made again from the journal.

-- `body` is the incident without its attempts and its timeline, which have tables of their own: so one more line costs the
-- same on the thousandth day as on the first.
CREATE TABLE incidents (
    id        BLOB    PRIMARY KEY,
    service   TEXT    NOT NULL,
    condition TEXT    NOT NULL,
    stage     TEXT    NOT NULL,
    severity  INTEGER NOT NULL,
    opened    INTEGER NOT NULL,
    updated   INTEGER NOT NULL,
    lines     INTEGER NOT NULL,
    body      TEXT    NOT NULL
) STRICT;
-- They are listed by what happened last in them: one that came back is news, however long ago it first opened.
CREATE INDEX incidents_updated ON incidents (updated);
CREATE INDEX incidents_service ON incidents (service, updated);
CREATE INDEX incidents_stage ON incidents (stage, updated);
CREATE INDEX incidents_open ON incidents (updated) WHERE stage <> 'resolved';
CREATE INDEX incidents_over ON incidents (updated) WHERE stage = 'resolved';

CREATE TABLE timeline (
    incident BLOB    NOT NULL,
    line     INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    PRIMARY KEY (incident, line)
) STRICT, WITHOUT ROWID;

-- `place` is the sequence number of the intent.
CREATE TABLE attempts (
    place    INTEGER PRIMARY KEY,
    id       BLOB    NOT NULL UNIQUE,
    incident BLOB,
    service  TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    settled  INTEGER NOT NULL,
    body     TEXT    NOT NULL
) STRICT;
CREATE INDEX attempts_unsettled ON attempts (place) WHERE settled = 0;
CREATE INDEX attempts_alone ON attempts (at) WHERE incident IS NULL;
CREATE INDEX attempts_at ON attempts (at);
CREATE INDEX attempts_service ON attempts (service, at);
CREATE INDEX attempts_incident ON attempts (incident) WHERE incident IS NOT NULL;

-- `base` = 1 holds what attempts taught whose journal rows retention has deleted; `base` = 0 is the whole catalog.
-- An empty service means: over all services.
CREATE TABLE catalog (
    base      INTEGER NOT NULL,
    signature TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    service   TEXT    NOT NULL,
    tally     TEXT    NOT NULL,
    PRIMARY KEY (base, signature, action, service)
) STRICT, WITHOUT ROWID;

-- The `_seq` columns name the journal rows that retention must leave.
CREATE TABLE services (
    name        TEXT PRIMARY KEY,
    health      TEXT,
    health_at   INTEGER,
    health_seq  INTEGER,
    desired     TEXT,
    desired_at  INTEGER,
    desired_seq INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('projection', 1);
