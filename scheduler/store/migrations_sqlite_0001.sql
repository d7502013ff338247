-- Instants are microseconds since 1970 UTC. Codes of kinds and states: sqlite_rows.py, work_state.py.

-- What runs are of: one row per kind and name. Rows of `runs` carry its number instead of two texts.
CREATE TABLE series (
    id   INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    key  TEXT NOT NULL,     -- the name as it is compared
    name TEXT NOT NULL,     -- the name as it was last written
    UNIQUE (kind, key)
) STRICT;

-- Where runs ran: one row per instance and release.
CREATE TABLE origins (
    id       INTEGER PRIMARY KEY,
    instance TEXT NOT NULL,
    release  TEXT NOT NULL,
    UNIQUE (instance, release)
) STRICT;

-- AUTOINCREMENT: an id must not come back after the newest rows were pruned.
CREATE TABLE runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    series     INTEGER NOT NULL,
    origin     INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    exit_code  INTEGER,
    wait_us    INTEGER NOT NULL,
    exec_us    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER,
    trigger    TEXT NOT NULL,
    public_id  TEXT NOT NULL
) STRICT;

-- A successful synchronous call touches the first index only; the others are partial.
CREATE INDEX runs_by_series ON runs (series);
CREATE INDEX runs_open ON runs (state) WHERE state < 3;
CREATE INDEX runs_failed ON runs (state) WHERE state > 3;
CREATE INDEX runs_failed_by_series ON runs (state, series) WHERE state > 3;
CREATE INDEX runs_of_jobs ON runs (kind) WHERE kind > 0;
-- Random ids of functions would make this index cost more than the table.
CREATE INDEX runs_by_public_id ON runs (public_id) WHERE kind > 0;

-- Only for runs that have something to say.
CREATE TABLE run_texts (
    run_id    INTEGER PRIMARY KEY,
    parent    INTEGER,
    reason    TEXT NOT NULL,
    arguments TEXT NOT NULL
) STRICT;

CREATE TABLE run_minutes (
    series INTEGER NOT NULL,
    minute INTEGER NOT NULL,   -- minutes since 1970 UTC
    state  INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    sum_us INTEGER NOT NULL,
    max_us INTEGER NOT NULL,
    PRIMARY KEY (series, minute, state)
) STRICT, WITHOUT ROWID;

-- Live work and dead letters only, so it stays small. id is the id of its run.
CREATE TABLE work (
    id           INTEGER PRIMARY KEY,
    series       INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    priority     INTEGER NOT NULL,
    run_at       INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,   -- counted attempts; a release takes one back
    token        INTEGER NOT NULL,   -- claims so far: fences, never goes back
    max_attempts INTEGER NOT NULL,
    cancel       INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    lease_until  INTEGER,
    expires_at   INTEGER,
    owner        TEXT,
    backoff      TEXT,               -- JSON list; NULL is the default
    trigger      TEXT NOT NULL,
    payload      BLOB NOT NULL
) STRICT;

CREATE INDEX work_ready ON work (series, priority DESC, run_at) WHERE state = 0;
CREATE INDEX work_leased ON work (lease_until) WHERE state = 1;
CREATE INDEX work_owned ON work (owner) WHERE state = 1;
CREATE INDEX work_dead ON work (state) WHERE state = 2;
CREATE INDEX work_delayed ON work (series, run_at) WHERE state = 3;
CREATE INDEX work_expiring ON work (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE work_errors (
    work_id INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    error   TEXT NOT NULL,
    PRIMARY KEY (work_id, seq)
) STRICT, WITHOUT ROWID;

-- How many pieces of work per function and state, kept by triggers: right by construction, and a
-- depth or cap check is one look-up. The triggers also cost no statement from outside.
CREATE TABLE work_counts (
    series INTEGER NOT NULL,
    state  INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (series, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER work_inserted AFTER INSERT ON work BEGIN
    INSERT INTO work_counts VALUES (new.series, new.state, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER work_deleted AFTER DELETE ON work BEGIN
    DELETE FROM work_errors WHERE work_id = old.id;
    UPDATE work_counts SET n = n - 1 WHERE series = old.series AND state = old.state;
END;
CREATE TRIGGER work_moved AFTER UPDATE OF state ON work WHEN old.state <> new.state BEGIN
    UPDATE work_counts SET n = n - 1 WHERE series = old.series AND state = old.state;
    INSERT INTO work_counts VALUES (new.series, new.state, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TABLE work_keys (
    series     INTEGER NOT NULL,
    key        TEXT NOT NULL,
    work_id    INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (series, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX work_keys_by_time ON work_keys (keep_until);

CREATE TABLE work_limits (
    series    INTEGER PRIMARY KEY,
    cap       INTEGER,
    max_depth INTEGER,
    paused    INTEGER NOT NULL
) STRICT;

CREATE TABLE ticks (
    timer_id TEXT NOT NULL,
    due_at   INTEGER NOT NULL,
    fired_at INTEGER NOT NULL,
    outcome  TEXT NOT NULL,
    run_id   INTEGER,
    PRIMARY KEY (timer_id, due_at)
) STRICT, WITHOUT ROWID;

-- A name keeps its row for ever: the token must grow.
CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    token      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_owner ON leases (owner);

-- A removed setting stays as NULL: its revision must not come back.
CREATE TABLE config (
    key   TEXT PRIMARY KEY,
    value TEXT,
    rev   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
    id         TEXT PRIMARY KEY,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    digest     TEXT NOT NULL,
    generation INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    problems   TEXT NOT NULL,   -- JSON
    changes    TEXT NOT NULL    -- JSON: [added, changed, removed]
) STRICT, WITHOUT ROWID;

CREATE TABLE current_release (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    generation INTEGER NOT NULL,
    digest     TEXT NOT NULL
) STRICT;
INSERT INTO current_release VALUES (1, 0, '');

CREATE TABLE members (
    instance     TEXT PRIMARY KEY,
    epoch        INTEGER NOT NULL,
    address      TEXT NOT NULL,
    slots        INTEGER NOT NULL,
    labels       TEXT NOT NULL,   -- JSON
    load         TEXT NOT NULL,   -- JSON
    job_statuses TEXT NOT NULL,   -- JSON
    seen_at      INTEGER NOT NULL,
    ttl_us       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Gives out epochs; only the last row stays.
CREATE TABLE epochs (id INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;

CREATE TABLE commands (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    target          TEXT NOT NULL,
    verb            TEXT NOT NULL,
    args            TEXT NOT NULL,   -- JSON
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    idempotency_key TEXT UNIQUE
) STRICT;
CREATE INDEX commands_by_expiry ON commands (expires_at);

CREATE TABLE command_results (
    command_id INTEGER NOT NULL,
    instance   TEXT NOT NULL,
    at         INTEGER NOT NULL,
    result     TEXT NOT NULL,
    PRIMARY KEY (command_id, instance)
) STRICT, WITHOUT ROWID;
