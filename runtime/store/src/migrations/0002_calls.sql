-- What is kept for replay. Not a projection: none of it can be made again.

-- The effective configurations of plug-ins, each once. `used` is when a call or a checkpoint last named it.
CREATE TABLE settings (
    digest TEXT    PRIMARY KEY,
    text   TEXT    NOT NULL,
    used   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Calls of plug-ins, whole. `input` and `output` are blobs of CBOR; a number is never given twice.
CREATE TABLE calls (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    service    TEXT    NOT NULL,
    incident   BLOB,
    plugin     TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    part       TEXT    NOT NULL,
    replayable INTEGER NOT NULL,
    role       TEXT    NOT NULL,
    input      BLOB    NOT NULL,
    output     BLOB    NOT NULL
) STRICT;
CREATE INDEX calls_at ON calls (at);
CREATE INDEX calls_plugin ON calls (plugin);
CREATE INDEX calls_incident ON calls (incident) WHERE incident IS NOT NULL;

-- The tape: chunks of looks at one service, blobs of columns. Looks are numbered within a service and a life of heald, from `begins`
-- on, so that a gap shows; a chunk with a checkpoint needs none before it.
CREATE TABLE tape (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    service    TEXT    NOT NULL,
    first      INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    begins     INTEGER NOT NULL,
    looks      INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL,
    chunk      BLOB    NOT NULL
) STRICT;
CREATE INDEX tape_service ON tape (service);
CREATE INDEX tape_last ON tape (last);
