-- Integers are 64 bits wide; times are capture times in microseconds unless said otherwise; documents are JSON text.

-- A queue's name and a message's place in it. What is unacked is known to the one process that has the file open: a row is
-- ready when nothing holds it. "attempts" is written before a message is handed out.
CREATE TABLE messages (
    id        INTEGER NOT NULL PRIMARY KEY,
    queue     TEXT    NOT NULL,
    attempts  BIGINT  NOT NULL,
    headers   TEXT    NOT NULL
);

-- Apart, so that to count an attempt does not rewrite a body.
CREATE TABLE bodies (
    id    INTEGER NOT NULL PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    body  BLOB    NOT NULL
);

CREATE TABLE cameras (
    id                 TEXT NOT NULL PRIMARY KEY,
    url                TEXT NOT NULL,
    state              TEXT NOT NULL,
    head               BLOB,
    frontier_epoch     BIGINT,
    frontier_sequence  BIGINT,
    ledger             TEXT NOT NULL,
    merged_until       BIGINT,
    merged_clock       TEXT,
    -- Unix microseconds, and the place of the furthest outcome that has waited since then.
    waiting_since      BIGINT,
    waiting_epoch      BIGINT,
    waiting_sequence   BIGINT
);
CREATE INDEX cameras_waiting ON cameras (waiting_since) WHERE waiting_since IS NOT NULL;

-- Every epoch ever given. "base" is the epoch that pass 0 of its content has; a live epoch has no content.
CREATE TABLE epochs (
    camera   TEXT   NOT NULL,
    epoch    BIGINT NOT NULL,
    base     BIGINT NOT NULL,
    content  TEXT,
    pass     BIGINT,
    PRIMARY KEY (camera, epoch)
);
CREATE INDEX epochs_by_content ON epochs (camera, content, pass);

CREATE TABLE published (
    camera  TEXT   NOT NULL,
    epoch   BIGINT NOT NULL,
    next    BIGINT NOT NULL,
    PRIMARY KEY (camera, epoch)
);

-- The winning outcome of each sequence number. "is_long" keeps the few spans that are too long to be found by their start
-- alone apart from the many that are not.
CREATE TABLE outcomes (
    camera      TEXT    NOT NULL,
    epoch       BIGINT  NOT NULL,
    sequence    BIGINT  NOT NULL,
    span_start  BIGINT  NOT NULL,
    span_end    BIGINT  NOT NULL,
    has_frames  BOOLEAN NOT NULL,
    is_long     BOOLEAN NOT NULL,
    is_kept     BOOLEAN NOT NULL,
    key_frame   TEXT,
    seam        TEXT,
    body        TEXT    NOT NULL,
    PRIMARY KEY (camera, epoch, sequence)
);
CREATE INDEX outcomes_by_start ON outcomes (camera, is_long, span_start);
CREATE INDEX outcomes_by_end ON outcomes (camera, span_end) WHERE has_frames;
CREATE INDEX outcomes_by_key_frame ON outcomes (camera, key_frame) WHERE key_frame IS NOT NULL;
CREATE INDEX outcomes_with_seam ON outcomes (camera, epoch, sequence) WHERE seam IS NOT NULL;
CREATE INDEX outcomes_kept ON outcomes (camera, epoch, sequence) WHERE is_kept;

-- Times in which nothing was captured, each under the place of the outcome that told of it.
CREATE TABLE gaps (
    camera    TEXT   NOT NULL,
    epoch     BIGINT NOT NULL,
    sequence  BIGINT NOT NULL,
    body      TEXT   NOT NULL,
    PRIMARY KEY (camera, epoch, sequence)
);

CREATE TABLE checkpoints (
    camera    TEXT   NOT NULL,
    epoch     BIGINT NOT NULL,
    sequence  BIGINT NOT NULL,
    state     BLOB   NOT NULL,
    PRIMARY KEY (camera, epoch, sequence)
);

-- Only what is 'listed' is shown. What was 'withdrawn', or is 'unconfirmed' until a reindex says that it is still true, keeps
-- its row so that its revision never falls. "steps" counts the changes that a reindex found.
CREATE TABLE events (
    id                TEXT   NOT NULL PRIMARY KEY,
    camera            TEXT   NOT NULL,
    label             TEXT   NOT NULL,
    start_us          BIGINT NOT NULL,
    end_us            BIGINT NOT NULL,
    best_score        BIGINT NOT NULL,
    standing          TEXT   NOT NULL,
    revision          BIGINT NOT NULL,
    steps             BIGINT NOT NULL,
    touched_epoch     BIGINT NOT NULL,
    touched_sequence  BIGINT NOT NULL,
    body              TEXT   NOT NULL
);
CREATE INDEX events_by_start ON events (start_us, id) WHERE standing = 'listed';
CREATE INDEX events_by_camera ON events (camera, start_us, id) WHERE standing = 'listed';
CREATE INDEX events_by_touch ON events (camera, touched_epoch, touched_sequence) WHERE standing = 'listed';

-- One row. "head" is the newest position given out, "pruned" the newest that is no longer there.
CREATE TABLE feed_state (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    generation  BIGINT  NOT NULL,
    head        BIGINT  NOT NULL,
    pruned      BIGINT  NOT NULL
);

-- A row for as long as what the bucket knows is not all in here: from the beginning, and while a reindex is under way.
CREATE TABLE reindex_pending (
    id  INTEGER NOT NULL PRIMARY KEY CHECK (id = 1)
);
INSERT INTO reindex_pending (id) VALUES (1);

CREATE TABLE feed (
    position  INTEGER NOT NULL PRIMARY KEY,
    revision  BIGINT  NOT NULL,
    change    TEXT    NOT NULL
);

-- What the bucket ought to say of an event under a key ("revision"), and what was last written or removed there ("done").
CREATE TABLE event_objects (
    object_key  TEXT   NOT NULL PRIMARY KEY,
    event       TEXT   NOT NULL,
    revision    BIGINT NOT NULL,
    done        BIGINT NOT NULL,
    turn        BIGINT NOT NULL
);
CREATE INDEX event_objects_pending ON event_objects (turn) WHERE done <> revision;

-- Who runs what. One row.
CREATE TABLE coordination (
    id                  INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    wanted_revision     BIGINT  NOT NULL,
    placement_revision  BIGINT  NOT NULL,
    partitions          BIGINT  NOT NULL
);
INSERT INTO coordination (id, wanted_revision, placement_revision, partitions) VALUES (1, 0, 0, 0);

CREATE TABLE wanted_cameras (
    camera    TEXT   NOT NULL PRIMARY KEY,
    revision  BIGINT NOT NULL,
    spec      TEXT   NOT NULL
);

-- An incarnation is 64 random bits.
CREATE TABLE members (
    name             TEXT    NOT NULL PRIMARY KEY,
    incarnation      BIGINT  NOT NULL,
    renewal          BIGINT  NOT NULL,
    cpu_millis       BIGINT  NOT NULL,
    capacity_millis  BIGINT  NOT NULL,
    leaving          BOOLEAN NOT NULL
);

-- A camera's lease has the camera's name; the balancer's has one that no camera can have, and that comes after all of theirs.
CREATE TABLE leases (
    name         TEXT   NOT NULL PRIMARY KEY,
    holder       TEXT,
    incarnation  BIGINT,
    epoch        BIGINT NOT NULL,
    renewal      BIGINT NOT NULL,
    seam         TEXT
);
CREATE INDEX leases_by_holder ON leases (holder, incarnation) WHERE holder IS NOT NULL;

CREATE TABLE placement (
    camera       TEXT   NOT NULL PRIMARY KEY,
    dispatcher   TEXT,
    partition    BIGINT NOT NULL,
    cost_millis  BIGINT NOT NULL,
    reason       TEXT   NOT NULL,
    moved_ms     BIGINT NOT NULL
);
CREATE INDEX placement_by_dispatcher ON placement (dispatcher) WHERE dispatcher IS NOT NULL;
