-- Sums of what nothing else vouches for. A blob begins with its own, as those of sets do.

update author set newest = summed(newest);
update author_block set seqs = summed(seqs);
update meta set totals = summed_totals(change, now_us, secret, totals);

-- Over what never changes of a post; null in those that were there before.
alter table post add column sum integer;
