"""The crash points of the server and its supervisors, by where a process dies.

`tests/faults/test_crash_points.py` holds this list against the source.
"""

SERVER = (
    "blob.flushed",
    "blob.renamed",
    "upload.blob-stored",
    "upload.recorded",
    "upload.committed",
    "create.recorded",
    "create.committed",
    "submit.recorded",
    "submit.committed",
    "queue.granted",
    "stage.prepared",
    "stage.unpacked",
    "stage.done",
    "stage.recorded",
    "start.asked",
    "start.handed-over",
    "observe.recorded",
    "collect.stored",
    "collect.recorded",
    "clear.removed",
)
STOPPING = ("stop.recorded", "stop.committed", "stop.planned", "stop.asked")
DELETING = ("delete.recorded", "delete.committed", "delete.blob-removed")
SNAPSHOTS = ("snapshot.stored",)
# Killed in tests/api/test_restart.py; nothing is restarted under torture.
RESTARTING = ("restart.recorded", "restart.committed", "restart.laid-out")
# Killed in tests/faults/test_study_faults.py.
STUDIES = (
    "inputs.shared",
    "study.asked",
    "study.closed",
    "study.extended",
    "study.points",
    "study.rerun",
    "study.run-added",
)
# Killed in tests/faults/test_cut_uploads.py.
UPLOADS = (
    "tus.part-flushed",
    "tus.part-recorded",
    "tus.part-committed",
    "tus.blob-stored",
    "tus.recorded",
    "tus.committed",
)
# Killed in tests/faults/test_draft_faults.py.
DRAFTS = ("draft.recorded", "draft.committed")
# Killed in tests/api/test_bulk.py.
BULK = ("bulk.begun", "bulk.recorded")
# Killed in tests/slurm/test_faults.py.
SLURM = ("slurm.batch-written", "slurm.submitted")
# Nothing of the payload has run: another start is right, and happens by itself.
BEFORE_THE_PAYLOAD = (
    "forkserver.received",
    "supervisor.locked",
    "supervisor.forked",
    "supervisor.pid.json-aside",
    "supervisor.pid-written",
)
# The payload runs, or ran: it is never started again, and the end is told as it was.
SUPERVISOR = (
    "supervisor.started",
    "supervisor.payload-ended",
    "supervisor.exit.json-aside",
    "supervisor.exit-written",
)
ALL = (*SERVER, *STOPPING, *DELETING, *SNAPSHOTS, *BEFORE_THE_PAYLOAD, *SUPERVISOR)
