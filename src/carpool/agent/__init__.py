"""The agent: the process that talks HTTP, to this machine's programs and to the agents of peers."""
