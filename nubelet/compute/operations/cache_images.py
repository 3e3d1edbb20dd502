"""cache_images: images are in a host's cache before a server there needs them.

    fetch_images    each image is in the cache, verified

One operation per host of the aggregate, so that one host that is down holds up no other. What
was fetched stays when a later image fails: it is of use by itself.

In OpenStack: nova/conductor/manager.py cache_images.
"""

from __future__ import annotations

from nubelet import image
from nubelet.kernel.errors import ApiError
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step
from nubelet.node.client import NodeClient

_DEADLINE_SECONDS = 3600


def fetch_images(run: Run) -> None:
    """Each image is in the host's cache. One that is gone by now is left out."""
    host = run.inputs["host"]
    node = NodeClient(run.cloud.bus, host, on_trail=run.on_trail)
    for image_id in run.inputs["image_ids"]:
        if run.stopping:
            return
        try:
            with run.cloud.database.read() as tx:
                spec = image.image_spec(run.cloud, tx, image_id)
        except ApiError as error:
            run.note("note", error.message, ok=False)
            continue
        node.ensure_image(spec, run.fence)


CACHE_IMAGES = Operation(
    kind="cache_images",
    title="fetching images for the host's cache",
    deadline_seconds=_DEADLINE_SECONDS,
    steps=(
        Step(
            "fetch_images",
            fetch_images,
            retry=Retry(attempts=8, max_delay_seconds=30.0),
            why_no_undo="an image in the cache harms nothing; the host drops unused ones",
        ),
    ),
)
