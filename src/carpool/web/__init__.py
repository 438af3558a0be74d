"""The web pages. Room: web. Asks the agent, and holds no root and no key of the group."""
