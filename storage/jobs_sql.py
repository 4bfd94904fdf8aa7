"""What `storage.jobs` asks the database, by name."""

COLUMNS = (
    "id, key, person, name, platform, place, language, command, request, cost, state, attempts, created, "
    "started, ended, seconds, error, notes, department"
)
GET = f"SELECT {COLUMNS} FROM jobs WHERE id = ?"
BY_KEY = f"SELECT {COLUMNS} FROM jobs WHERE key = ?"
# A newcomer starts level with whoever is next; when nobody waits or works, all debts are forgotten.
NEWCOMER_TURN = """
SELECT max(coalesce((SELECT served FROM people WHERE person = ?), 0.0), coalesce(
    (SELECT min(turn) FROM jobs WHERE state = 'queued'),
    (SELECT max(turn) FROM jobs WHERE state = 'running'),
    (SELECT max(served) FROM people), 0.0))
"""
SERVED = """
INSERT INTO people (person, name, served) VALUES (:person, :name, :served)
ON CONFLICT (person) DO UPDATE SET name = excluded.name, served = excluded.served
"""
ADD = f"""
INSERT INTO jobs (key, person, name, platform, place, language, command, request, cost, turn, state, created,
                  notes, words, department, model, room)
VALUES (:key, :person, :name, :platform, :place, :language, :command, :request, :cost, :turn, 'queued', :now,
        :notes, :words, :department, :model, :room)
RETURNING {COLUMNS}
"""
ADD_INPUT = "INSERT OR IGNORE INTO inputs (job, blob) VALUES (?, ?)"
CLAIM = f"""
UPDATE jobs SET state = 'running', started = :now
WHERE state = 'queued' AND id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY turn, id LIMIT 1)
RETURNING {COLUMNS}
"""
# The next of those who have nothing at work.
CLAIM_NEWCOMER = f"""
UPDATE jobs SET state = 'running', started = :now
WHERE state = 'queued' AND id = (
    SELECT id FROM jobs AS waiting WHERE state = 'queued' AND NOT EXISTS (
        SELECT 1 FROM jobs AS own WHERE own.person = waiting.person AND own.state = 'running'
    ) ORDER BY turn, id LIMIT 1)
RETURNING {COLUMNS}
"""
RELEASE = f"""
UPDATE jobs SET state = 'queued', started = NULL, attempts = attempts + :crashes,
                seconds = coalesce(seconds, 0.0) + :seconds
WHERE id = :id AND state = 'running' RETURNING {COLUMNS}
"""
END = f"""
UPDATE jobs SET state = :state, ended = :now, seconds = :seconds, error = :error, notes = :notes
WHERE id = :id AND state = :expected RETURNING {COLUMNS}
"""
PAUSE = f"UPDATE jobs SET state = 'paused' WHERE id = ? AND state = ? RETURNING {COLUMNS}"
RESUME = (
    f"UPDATE jobs SET state = 'queued', started = NULL WHERE id = ? AND state = 'paused' RETURNING {COLUMNS}"
)
SPENT = "UPDATE jobs SET seconds = coalesce(seconds, 0.0) + ? WHERE id = ?"
PROVED = "UPDATE jobs SET attempts = 0 WHERE id = ? AND state = 'running'"
LATELY = f"SELECT {COLUMNS} FROM jobs WHERE command = ? AND state = 'done' ORDER BY id DESC LIMIT ?"
# The work left the line undone: what this person asked for later moves up by as much.
REFUND_JOBS = """
UPDATE jobs SET turn = turn - :cost
WHERE state = 'queued' AND person = :person AND turn > (SELECT turn FROM jobs WHERE id = :id)
"""
REFUND_PERSON = "UPDATE people SET served = served - :cost WHERE person = :person"
AHEAD = """
SELECT count(*) FROM jobs AS other, (SELECT turn, id FROM jobs WHERE id = ? AND state = 'queued') AS mine
WHERE other.state = 'queued' AND (other.turn, other.id) < (mine.turn, mine.id)
"""
LINE = f"SELECT {COLUMNS} FROM jobs WHERE state = 'queued' ORDER BY turn, id LIMIT ?"
QUEUED = "SELECT count(*) FROM jobs INDEXED BY jobs_in_line WHERE state = 'queued'"
RUNNING = f"SELECT {COLUMNS} FROM jobs WHERE state = 'running' ORDER BY turn, id"
# Few are in a state that is asked for, so they are sorted; the plus keeps the planner from an index that has the order
# alone.
OF = f"""
SELECT {COLUMNS} FROM jobs WHERE person = ? AND state IN (SELECT value FROM json_each(?)) ORDER BY +id DESC LIMIT ?
"""
