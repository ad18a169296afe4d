-- What live events are read from after a connection was cut; in the order of changes, all of it.

-- Which post a change concerned, wherever it moved somebody from one set to another.
create table touched (change integer primary key, post integer not null, author integer not null);

-- Changes are given out in runs of 16,384. Most posts are settled in the run in which they were
-- published; of others, this finds those of an author without looking through all that came since.
create index touched_later on touched (author, change) where change >> 14 <> post >> 14;

-- What one person did: muted, unmuted or unfollowed an author, or marked notifications.
create table deed (
    user integer not null,
    change integer not null,
    kind integer not null,
    author integer not null,
    low integer not null,
    high integer not null,
    seqs blob,
    primary key (user, change)
) without rowid;

-- Steps of the retention: up to which seq posts were gone from then on, and whose they were.
create table expiry (change integer primary key, horizon integer not null, authors blob not null);
