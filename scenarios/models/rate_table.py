"""Whether rate control's table was measured with a run's models: the sender knows its own, this knows both ends."""

from hashlib import sha256

from link.config import Session
from link.errors import FarlinkError
from link.models import digest
from sender import calibration
from sender.calibration import table_path
from sender.rate_control import is_controlled, stamps, table_line


def model_stamps(session: Session) -> dict[str, str]:
    """Return what tells the models of both ends from others: transform, captioner, and the generator's parts.

    Raise ModelMissingError where one is not on this machine.
    """
    from receiver.folders import part_folders

    parts = (f"{name} {digest(folder)}" for name, folder in sorted(part_folders(session).items()))
    return stamps(session) | {"generator": sha256("\n".join(parts).encode()).hexdigest()[:16]}


def find_stale_models(session: Session) -> list[str]:
    """Return a line for each of the receiver's models that the session's rate table was not measured with.

    The sender tells of its own in the journal. What is missing is for the ends to say.
    """
    if not is_controlled(session):
        return []
    try:
        path = table_path(session)
        table, own = calibration.read(path), stamps(session)
        used_stamps = {name: stamp for name, stamp in model_stamps(session).items() if name not in own}
        if session.analysis:
            from link.analysis.analyst import choose_all

            used_stamps |= {item.task: item.stamp for item in choose_all(session.analysis, session.profile)}
        return [table_line(path, line) for line in table.model_differences(used_stamps)]
    except FarlinkError:
        return []
