"""`script/bench states`: connection replication measured against conntrackd, on one stage."""
