"""Make images through AIgateway's own client, and find them again by tag at the gateway and in the ledger.

    AIGATEWAY_API_KEY=... python examples/aigateway_tags.py

The client's `tag` and `pixelmeter.tags(aig_tag=...)` are the same thing: the gateway's x-aig-tag header, which its own
usage pages go by. The ledger has it as the tag `aig_tag`. AIGATEWAY_BASE_URL names another host; without a profile for
that host the ledger misses the client's tag and the gateway that of `pixelmeter.tags`, so give the host its profile:
PIXELMETER_GATEWAYS="images.corp.example=aigateway" or Meter(gateways={"images.corp.example": "aigateway"}).
"""

from __future__ import annotations

import os

from aigateway import AIgateway

import pixelmeter


def main() -> None:
    base_url = os.environ.get("AIGATEWAY_BASE_URL", "https://api.aigateway.sh")
    with (
        pixelmeter.Meter() as meter,
        AIgateway(api_key=os.environ["AIGATEWAY_API_KEY"], base_url=base_url, tag="landing-page") as client,
    ):
        pixelmeter.instrument(client, meter)
        # This client has no method for images; its other requests go through the same one.
        image = {"model": "black-forest-labs/flux-2-klein-9b", "prompt": "a fox"}
        with pixelmeter.tags(team="growth"):
            answer = client._request("POST", "/v1/images/generations", json=image)
        print(answer["data"][0]["url"])


if __name__ == "__main__":
    main()
