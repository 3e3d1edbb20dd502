"""Remove data that is not an image's any more: all of a deleted image's, or one copy.

What there is to remove is noted as loose data in the transaction that starts the operation; what
the operation cannot remove, the reconciler will.
"""

from __future__ import annotations

from nubelet.image import loose_data
from nubelet.image.stores import Stores
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step

_RETRY = Retry(attempts=8, first_delay_seconds=1.0)
_WHY_NO_UNDO = "deleted data cannot come back; the step is repeated until it works"


def remove_data(run: Run) -> None:
    """Delete all that is noted of the image from the stores."""
    with run.cloud.database.write() as tx:  # not for whoever lost the operation
        rows = loose_data.find(tx, run.subject_id)
    loose_data.remove(run.cloud, rows)


def remove_copy(run: Run) -> None:
    """Delete what is noted of the image in some stores; the staging area is none of them."""
    stores = run.cloud.get(Stores)
    with run.cloud.database.write() as tx:  # not for whoever lost the operation
        rows = loose_data.find(tx, run.subject_id)
    loose_data.remove(run.cloud, [row for row in rows if row.store in stores])


DELETE_IMAGE_DATA = Operation(
    kind="delete_image_data",
    title="Delete image data",
    steps=(Step("remove_data", remove_data, why_no_undo=_WHY_NO_UNDO, retry=_RETRY),),
    deadline_seconds=24 * 3600,
    preempts=True,  # an import of this image need not go on
)

DELETE_COPY = Operation(
    kind="delete_image_copy",
    title="Delete a copy of an image",
    steps=(Step("remove_copy", remove_copy, why_no_undo=_WHY_NO_UNDO, retry=_RETRY),),
    deadline_seconds=24 * 3600,
)
