-- How the gateway was: three rings of slots, overwritten in place, and the names of what they hold.

CREATE TABLE growth_series (
    -- the place of the series in the bodies; never given to another one
    id   INTEGER PRIMARY KEY CHECK (id BETWEEN 0 AND 511),
    name TEXT NOT NULL UNIQUE
);

-- Bounded by the schema itself: 360 slots of 10 s, 1,440 of a minute, 12,960 of ten minutes.
CREATE TABLE growth (
    step_ms INTEGER NOT NULL CHECK (step_ms IN (10000, 60000, 600000)),
    slot    INTEGER NOT NULL CHECK (slot BETWEEN 0 AND iif(step_ms = 10000, 359, iif(step_ms = 60000, 1439, 12959))),
    -- counts up for ever; slot is what is left of it divided by the size of the ring
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    boot    INTEGER NOT NULL,
    -- the least values by series, how far the most are above, how far the last ones
    body    BLOB NOT NULL,
    PRIMARY KEY (step_ms, slot)
) WITHOUT ROWID;
