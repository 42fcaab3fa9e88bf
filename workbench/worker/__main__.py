"""The worker: `python -P -X utf8 -m workbench.worker RUN_DIR` does one run's job; `--serve` answers a chat.

It signs in, waits for its turn on the card, and only then imports a training library. Whatever happens, it writes
exactly one ending.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.errors import RunError, WorkbenchError
from workbench.events import Finished, Metrics, Phase, Queued, Stopped
from workbench.job import Job
from workbench.paths import RunPaths
from workbench.runs import check_unchanged, claim, lease
from workbench.worker import endings
from workbench.worker.context import RunContext, StopRequested
from workbench.worker.heartbeat import Heartbeat
from workbench.worker.journal import Journal
from workbench.worker.log import cap_output, quiet_loggers, say
from workbench.worker.signals import StopSignals, end_group

Perform = Callable[[RunContext], Metrics | None]


def dispatch(context: RunContext) -> Metrics | None:
    """Does the job with the method, sampler, judge or export target that it names; returns the summary."""
    from workbench import exports, judges, methods, samplers

    context.phase("loading the libraries")
    quiet_loggers()
    importlib.import_module("workbench.worker.bits")  # before peft, which would import bitsandbytes its own way
    action = context.job.action
    if context.job.kind == "train":
        done: Any = methods.module(action).train(context)
    elif context.job.kind == "sample":
        done = samplers.module(action).sample(context)
    elif context.job.kind == "score":
        done = judges.module(action).judge(context)
    else:
        done = exports.module(action).export(context)
    return done if isinstance(done, dict) else None


def work(run_dir: Path, perform: Perform = dispatch) -> int:
    """Does the job in `run_dir` and returns the exit code: 0 if it finished or stopped, else the error's."""
    paths = RunPaths(run_dir.resolve())
    os.umask(0o077)
    signals = StopSignals()
    signals.install()
    try:
        claim.take(paths)
    except (RunError, OSError) as error:
        say(str(error))
        return RunError.exit_code
    cap_output(paths.log)
    faulthandler.enable()
    journal = Journal(paths)
    worker = _Worker(paths, journal, signals)
    signals.at_once = worker.end_at_once
    signals.listen()
    return worker.run(perform)


class _Worker:
    """One life of a run: from the order to the ending."""

    def __init__(self, paths: RunPaths, journal: Journal, signals: StopSignals) -> None:
        self.paths = paths
        self.journal = journal
        self.signals = signals
        self.context: RunContext | None = None

    def run(self, perform: Perform) -> int:
        try:
            self.journal.append(Phase(name="starting"))
            job = check_unchanged(self.paths)
            self.context = context = RunContext(self.paths, job, self.journal.append, lambda: self.signals.asked)
            with self._turn(context, job), Heartbeat(context):
                summary = perform(context)
            self.journal.append(Finished(step=context.step, summary=summary or {}))
            code = 0
        except StopRequested:
            self.journal.append(Stopped(step=self._step))
            code = 0
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a bug becomes Failed with a traceback in the log
            code = self._fail(error)
        with contextlib.suppress(OSError):
            self.paths.stop_request.unlink(missing_ok=True)
        return code

    @property
    def _step(self) -> int:
        return self.context.step if self.context is not None else 0

    def _turn(self, context: RunContext, job: Job) -> contextlib.AbstractContextManager[lease.Ticket]:
        """The card, once everybody who came before is done."""
        title = f"{self.paths.root.parent.parent.name}: {job.title}"
        return lease.hold(title, on_wait=lambda ahead: context.emit(Queued(behind=ahead)), look=context.check_stop)

    def _fail(self, error: BaseException) -> int:
        if not isinstance(error, WorkbenchError):
            traceback.print_exception(error)
        context = self.context
        saved = context.last_saved_bytes if context is not None else 0
        job = context.job if context is not None else None
        event = endings.failure(error, self.paths, job, saved)
        say(f"{event.message} {event.hint}")
        self.journal.append(event)
        return error.exit_code if isinstance(error, WorkbenchError) else 1

    def end_at_once(self) -> None:
        """The second signal: one ending, and gone, children too."""
        self.journal.append(Stopped(step=self._step), at_once=True)
        end_group()


def main(arguments: list[str]) -> int:
    """The entry of the process."""
    # Waiting threads sleep instead of spinning: beside one other busy process, spinning makes a step 8 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments == ["--serve"]:
        from workbench.worker.serve import serve

        return serve()
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        say("usage: python -P -X utf8 -m workbench.worker RUN_DIR | --serve")
        return 2
    return work(Path(arguments[0]))


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's clean-up: torch's and llama.cpp's threads have made it hang or crash after the ending.
    os._exit(status)
