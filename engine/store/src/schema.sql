-- Version 1. Every text of a request stands once in `text`; a request holds its number.
-- Number 0 is the empty text. Money is pico-USD, times are Unix time in microseconds.

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO setting (name, value) VALUES ('keys_version', 0);

CREATE TABLE api_key (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    name       TEXT NOT NULL,
    org        TEXT NOT NULL,
    team       TEXT NOT NULL,
    project    TEXT NOT NULL,
    user       TEXT,
    strategy   TEXT,
    created_at INTEGER NOT NULL, -- Unix time in seconds, like the two below
    revoked_at INTEGER,
    expires_at INTEGER
) STRICT;

CREATE TABLE text (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO text (id, text) VALUES (0, '');

-- One row per request, in the order of folding. What reports read stands first: SQLite decodes a
-- row from its start. No index but the key: `block` narrows a time range at the cost of one row
-- per ten thousand requests.
CREATE TABLE request (
    position            INTEGER PRIMARY KEY,
    started_at_us       INTEGER NOT NULL,
    org                 INTEGER NOT NULL,
    team                INTEGER NOT NULL,
    project             INTEGER NOT NULL,
    key_name            INTEGER NOT NULL,
    user                INTEGER NOT NULL,
    task                INTEGER, -- number of the task; null when the classifier was not asked
    model               INTEGER NOT NULL,
    provider            INTEGER NOT NULL,
    strategy            INTEGER NOT NULL,
    price_version       INTEGER NOT NULL,
    dialect             INTEGER NOT NULL,
    outcome             INTEGER NOT NULL,
    input               INTEGER NOT NULL,
    cached              INTEGER NOT NULL,
    written_5m          INTEGER NOT NULL,
    written_1h          INTEGER NOT NULL,
    output              INTEGER NOT NULL,
    reasoning           INTEGER NOT NULL,
    usage_source        INTEGER NOT NULL, -- 0 provider, 1 estimated
    cost_total          INTEGER NOT NULL,
    own_cost            INTEGER NOT NULL,
    dearest             INTEGER NOT NULL,
    ttft_us             INTEGER,
    duration_us         INTEGER NOT NULL,
    key_id              INTEGER NOT NULL,
    cost_input          INTEGER NOT NULL,
    cost_cached         INTEGER NOT NULL,
    cost_written        INTEGER NOT NULL,
    cost_output         INTEGER NOT NULL,
    cost_reasoning      INTEGER NOT NULL,
    classify_us         INTEGER NOT NULL,
    http_status         INTEGER NOT NULL,
    core                INTEGER NOT NULL,
    stream              INTEGER NOT NULL,
    requested           INTEGER NOT NULL,
    wire_id             INTEGER NOT NULL,
    attempts            INTEGER NOT NULL,
    failures            INTEGER NOT NULL,
    classified_by       INTEGER NOT NULL,
    reason              INTEGER NOT NULL,
    candidates          INTEGER NOT NULL,
    difficulty_e4       INTEGER NOT NULL, -- ten-thousandths, like the two below
    confidence_e4       INTEGER NOT NULL,
    expected_quality_e4 INTEGER NOT NULL,
    expected_cost       INTEGER NOT NULL,
    expected_latency_us INTEGER NOT NULL,
    entry               BLOB NOT NULL     -- 16 bytes, big-endian
) STRICT;

-- A run of requests that follow each other, with the range of their starts.
CREATE TABLE block (
    first_position INTEGER PRIMARY KEY,
    last_position  INTEGER NOT NULL,
    started_min_us INTEGER NOT NULL,
    started_max_us INTEGER NOT NULL
) STRICT;

-- How far each file of the journal has been folded: written in the transaction of its records, so
-- that no record is counted twice, whenever the process dies.
CREATE TABLE segment (
    name     TEXT PRIMARY KEY,
    offset   INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    lost     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- For people with a SQL prompt; Pointsman itself does not read it.
CREATE VIEW requests AS
SELECT
    lower(hex(r.entry)) AS entry,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at_us / 1e6, 'unixepoch') AS started_at,
    (SELECT text FROM text WHERE id = r.org) AS org,
    (SELECT text FROM text WHERE id = r.team) AS team,
    (SELECT text FROM text WHERE id = r.project) AS project,
    (SELECT text FROM text WHERE id = r.key_name) AS key_name,
    (SELECT text FROM text WHERE id = r.user) AS user,
    (SELECT text FROM text WHERE id = r.requested) AS requested,
    (SELECT text FROM text WHERE id = r.strategy) AS strategy,
    (SELECT text FROM text WHERE id = r.model) AS model,
    (SELECT text FROM text WHERE id = r.provider) AS provider,
    (SELECT text FROM text WHERE id = r.price_version) AS price_version,
    (SELECT text FROM text WHERE id = r.failures) AS failures,
    (SELECT text FROM text WHERE id = r.reason) AS reason,
    r.task, r.outcome, r.http_status, r.input, r.cached, r.written_5m, r.written_1h, r.output,
    r.reasoning, r.cost_total, r.own_cost, r.dearest, r.ttft_us, r.duration_us
FROM request r;
