-- What a person has open, and the last of a kind: found without looking at all that ever was.
CREATE INDEX jobs_of_person_by_state ON jobs (person, state, id);
CREATE INDEX jobs_done ON jobs (command, id) WHERE state = 'done';
