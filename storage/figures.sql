-- What a cache of other registries did, added up over all processes and their lives (storage/figures.py).
CREATE TABLE figures (
    upstream  TEXT NOT NULL,
    what      TEXT NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (upstream, what)
) WITHOUT ROWID;

-- How an upstream was when it was last asked. Times are for people, in seconds of the epoch: since when is counted,
-- the last answer, the last failure and what it was, and until when it is left alone. NULL: never.
CREATE TABLE upstreams (
    name      TEXT PRIMARY KEY,
    since     INTEGER NOT NULL,
    answered  INTEGER,
    failed    INTEGER,
    why       TEXT NOT NULL DEFAULT '',
    resting   INTEGER
) WITHOUT ROWID;
