"""How long who asks an agent waits for it, in seconds.

Room: agent. For both clients, and for the command line, which loads nothing else of this room.
"""

from carpool.model.section import SERVICE_TIMEOUT_S

ANSWER_WAIT_S = 10.0
STREAM_WAIT_S = 120.0  # between two lines
ALIVE_S = 20.0  # after so long without a step a line says that it goes on: a check may take 600 s
LIST_WAIT_S = 30.0  # how the services of a node do
ACT_WAIT_S = SERVICE_TIMEOUT_S + 15.0  # acting on one, and how it does then
LISTEN_MAX_S = 10.0  # that a node listens on its wires because a peer asks
LISTEN_MORE_S = 5.0  # than that, for who asked for it
SWITCHOVER_WAIT_S = 30.0  # a peer takes over in one advertisement; this is for one that is slow
OPERATE_WAIT_S = SWITCHOVER_WAIT_S + 5.0  # for the agent of a peer, which waits as long
SEARCH_MAX_S = 3.0  # looking at one connection table
SEARCH_WAIT_S = SEARCH_MAX_S + 5.0
PACKAGES_WAIT_S = 70.0  # apt works out what it would do
