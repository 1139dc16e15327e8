"""Runs over HTTP: what is queued, running, waiting or done."""

from starlette.requests import Request
from starlette.responses import Response

from tidegate.domain.run import Run, RunState
from tidegate.edge import query, wire
from tidegate.edge.endpoint import Endpoint
from tidegate.edge.wire import Json
from tidegate.errors import BadRequest, RunNotFound
from tidegate.ids import RunId
from tidegate.runtime.runner import Runner
from tidegate.store.port import Store

MANY = 1 << 62


class Runs:
    """Handlers over runs."""

    def __init__(self, store: Store, runner: Runner) -> None:
        self._store = store
        self._runner = runner

    async def page(self, request: Request) -> Response:
        """List runs, newest first."""
        asked = request.query_params
        limit = query.limit_of(asked)
        states = query.choices(asked.get("state"), RunState)
        if len(states) > 1:
            raise BadRequest("runs are listed in one state or in all of them")
        found = await self._store.runs(
            state=states[0] if states else None,
            session=query.head_of(self._store, asked["session"]).id if asked.get("session") else None,
            before=query.integer(asked, "cursor", MANY),
            limit=limit,
        )
        following = str(found[-1].number) if len(found) == limit else None
        return Json({"runs": [self._shown(run) for run in found], "next": following})

    async def cancel(self, request: Request) -> Response:
        """Cancel a run."""
        return Json(self._shown(await self._runner.cancel(RunId(request.path_params["id"]))))

    async def show(self, request: Request) -> Response:
        """Show a run."""
        run = self._store.run(RunId(request.path_params["id"]))
        if run is None:
            raise RunNotFound(f"there is no run {request.path_params['id'][:80]!r}")
        return Json(self._shown(run))

    def _shown(self, run: Run) -> dict[str, object]:
        return wire.run_out(run, self._store.key_of(run.session) or "")

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this part."""
        filters = {"state": "queued, running, waiting or done", "session": "the key of a session"}
        return [
            Endpoint(
                method="GET",
                path="/api/runs",
                handler=self.page,
                summary="List runs, newest first",
                query=filters | query.PAGE | query.CURSOR,
                errors=(400, 404),
            ),
            Endpoint(
                method="GET", path="/api/runs/{id}", handler=self.show, summary="Show a run", errors=(404,)
            ),
            Endpoint(
                method="POST",
                path="/api/runs/{id}/cancel",
                handler=self.cancel,
                summary="Cancel a run",
                errors=(404,),
            ),
        ]
