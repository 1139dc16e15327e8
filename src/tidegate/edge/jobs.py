"""Jobs over HTTP: made, changed, run, and what became of their instants."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from tidegate.config.job import is_name
from tidegate.domain.job import Job, JobOrigin
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest
from tidegate.faults import Area
from tidegate.runtime import jobs
from tidegate.runtime.intake import Intake
from tidegate.store.port import Store

MANY = 1 << 62
MAX_JOB_BYTES = 256 << 10


class JobChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Some keys of a job as in ``[[jobs]]`` of the configuration; null takes one away."""

    prompt: str | UnsetType = UNSET
    at: str | UnsetType | None = UNSET
    every: str | UnsetType | None = UNSET
    cron: str | UnsetType | None = UNSET
    timezone: str | UnsetType | None = UNSET
    agent: str | UnsetType | None = UNSET
    session: str | UnsetType | None = UNSET
    deliver: str | UnsetType | None = UNSET
    missed: Literal["once", "skip"] | UnsetType | None = UNSET
    max_lateness: str | UnsetType | None = UNSET
    overlap: Literal["forbid", "allow"] | UnsetType | None = UNSET
    jitter: str | UnsetType | None = UNSET
    max_runtime: str | UnsetType | None = UNSET
    allow_tools: list[str] | UnsetType | None = UNSET
    tools: list[str] | UnsetType | None = UNSET
    alert_after: int | UnsetType | None = UNSET
    spend: float | str | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET


class JobIn(JobChange, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A job as in ``[[jobs]]`` of the configuration."""

    name: str


class Jobs:
    """Handlers over jobs."""

    def __init__(self, store: Store, intake: Intake, maker: jobs.Jobs) -> None:
        self._store = store
        self._intake = intake
        self._maker = maker

    async def page(self, request: Request) -> Response:
        """List jobs by name."""
        asked = request.query_params
        limit = query.limit_of(asked)
        after = asked.get("cursor", "")
        if after and not is_name(after):
            raise BadRequest(f"cursor={after[:40]!r} is none", hint="take it from `next` of the page before")
        found, problems = await self._store.jobs(after, limit), self._store.aside(Area.JOBS)
        following = found[-1].name if len(found) == limit else None
        return Json({"jobs": [wire.job_out(job, problems.get(job.name)) for job in found], "next": following})

    async def make(self, request: Request) -> Response:
        """Make a job."""
        wanted = await wire.decode(await wire.body_of(request, MAX_JOB_BYTES), JobIn)
        values = {key: value for key, value in msgspec.to_builtins(wanted).items() if value is not None}
        return Json(wire.job_out(await self._maker.make(values, JobOrigin.API)))

    async def show(self, request: Request) -> Response:
        """Show a job."""
        job = self._job(request)
        return Json(wire.job_out(job, self._store.why_aside(Area.JOBS, job.name)))

    async def change(self, request: Request) -> Response:
        """Change a job; of one in the configuration, only whether it is paused."""
        wanted = await wire.decode(await wire.body_of(request, MAX_JOB_BYTES), JobChange)
        job = self._job(request)
        values = msgspec.to_builtins(wanted)
        paused = values.pop("paused", None)
        if not values and paused is None:
            raise BadRequest("there is nothing to change", hint='for example {"paused": true}')
        if values:
            job = await self._maker.change(job.name, values)
        if paused is not None:
            job = await self._store.pause_job(job.name, paused=paused)
        return Json(wire.job_out(job))

    async def remove(self, request: Request) -> Response:
        """Remove a job with its history; what it has running is cancelled."""
        return Json(wire.job_out(await self._store.remove_job(self._job(request).name)))

    async def run(self, request: Request) -> Response:
        """Run a job now, beside its schedule."""
        job = self._job(request)
        admitted = await self._intake.run_job(job.name)
        return Json({**wire.job_out(job), "run": admitted.run.id, "run_session": admitted.session.key})

    async def firings(self, request: Request) -> Response:
        """List what became of a job's instants, newest first."""
        asked = request.query_params
        limit = query.limit_of(asked)
        found = await self._store.firings(
            self._job(request).name, query.integer(asked, "cursor", MANY), limit
        )
        shown = [wire.firing_out(firing, self._store.key_of(firing.session)) for firing in found]
        following = str(found[-1].number) if len(found) == limit else None
        return Json({"firings": shown, "next": following})

    def _job(self, request: Request) -> Job:
        return self._intake.job(request.path_params["name"])

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        one = "/api/jobs/{name}"
        return [
            Endpoint(
                method="GET",
                path="/api/jobs",
                handler=self.page,
                summary="List jobs by name",
                query=query.PAGE | query.CURSOR,
                errors=(400,),
            ),
            Endpoint(
                method="POST",
                path="/api/jobs",
                handler=self.make,
                body=JobIn,
                summary="Make a job",
                errors=(400, 404, 409, 413, 429, 507),
            ),
            Endpoint(method="GET", path=one, handler=self.show, summary="Show a job", errors=(404,)),
            Endpoint(
                method="PATCH",
                path=one,
                handler=self.change,
                body=JobChange,
                summary="Change a job, pause it or let it go on",
                errors=(400, 404, 409, 413, 507),
            ),
            Endpoint(
                method="DELETE",
                path=one,
                handler=self.remove,
                summary="Remove a job and cancel what it has running",
                errors=(404, 409),
            ),
            Endpoint(
                method="POST",
                path=f"{one}/run",
                handler=self.run,
                summary="Run a job now, beside its schedule",
                errors=(400, 404, 409, 429, 503, 507),
            ),
            Endpoint(
                method="GET",
                path=f"{one}/firings",
                handler=self.firings,
                summary="List what became of a job's instants, newest first",
                query=query.PAGE | query.CURSOR,
                errors=(400, 404),
            ),
        ]
