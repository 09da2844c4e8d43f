-- What is kept about the panel itself: who did what (audit), and what is wrong (alerts). Rows of the usual shape.

-- s1 chain, s2 actor, s3 resource, n1 time, n2 position in the chain. Rows are only ever added; ids are time-ordered.
CREATE TABLE audit (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE INDEX audit_s1 ON audit (s1, id);
CREATE INDEX audit_s2 ON audit (s2, id);
CREATE INDEX audit_s3 ON audit (s3, id);
CREATE INDEX audit_n1 ON audit (n1, id);

-- s1 kind, s2 active or resolved, s3 what it is about, n1 when it was resolved (0: it is not).
CREATE TABLE alerts (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE INDEX alerts_s1 ON alerts (s1, id);
CREATE INDEX alerts_s2 ON alerts (s2, id);
CREATE INDEX alerts_n1 ON alerts (n1, id);
