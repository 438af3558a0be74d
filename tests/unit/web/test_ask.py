"""What is asked of the agent: never another route than the one that was meant."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from carpool.errors import CarpoolError, UnreachableError
from carpool.web.ask import Ask


@pytest.mark.parametrize("name", ["..", "."])
def test_a_name_of_a_form_leads_to_no_other_route(tmp_path: Path, name: str) -> None:
    """httpx takes dots out of a path: /v1/services/../reload would be /v1/reload."""

    async def scenario() -> None:
        ask = Ask(tmp_path / "agent.sock")
        try:
            with pytest.raises(CarpoolError, match="no name") as told:
                await ask.post(f"/v1/services/{name}/reload", by="ann")
            assert told.value.hint
            with pytest.raises(CarpoolError, match="no name"):
                await ask.get(f"/v1/history/{name}")
            with pytest.raises(UnreachableError):
                await ask.get("/v1/services/a..b/reload")
        finally:
            await ask.close()

    asyncio.run(scenario())
