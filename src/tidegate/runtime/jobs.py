"""Jobs as people and models bring them: read, judged against what there is, and kept."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from tidegate.agent.loop import Agent
from tidegate.clock import Clock
from tidegate.config import Config
from tidegate.config.job import Job as Definition
from tidegate.config.job import instant, problem, table
from tidegate.config.section import Table, WrongError, section
from tidegate.domain.job import Job, JobOrigin
from tidegate.errors import AgentNotFound, BadRequest, ConfigError
from tidegate.store.port import Store

SCHEDULE = frozenset({"at", "every", "cron"})


class Jobs:
    """Makes jobs and changes them."""

    def __init__(
        self, store: Store, agents: Mapping[str, Agent], webhooks: Collection[str], clock: Clock
    ) -> None:
        self._store = store
        self._webhooks = webhooks
        self._agents = agents
        self._clock = clock

    async def make(self, values: Table, origin: JobOrigin, creator: str = "") -> Job:
        """Make a job from a table as it would stand in the configuration.

        Raises:
            BadRequest, AgentNotFound: It makes no sense.
            JobExists, TooManyJobs: It cannot be made.
        """
        definition = self._checked(values)
        self._check_future(definition)
        return await self._store.put_job(definition, origin, creator)

    async def change(self, name: str, values: Table) -> Job:
        """Change some keys of a job; None takes a key away, a new way to say when takes the old one away.

        Raises:
            BadRequest, AgentNotFound: It makes no sense then.
            JobNotFound, JobInConfig: It cannot be changed.
        """

        def changed(before: Definition) -> Definition:
            kept = table(before)
            if any(values.get(key) is not None for key in SCHEDULE):
                kept = {key: value for key, value in kept.items() if key not in SCHEDULE}
            merged = {key: value for key, value in {**kept, **values}.items() if value is not None}
            after = self._checked(merged)
            if after.at != before.at:
                self._check_future(after)
            return after

        return await self._store.alter_job(name, changed)

    def of_config(self, config: Config) -> Sequence[Definition]:
        """Return the jobs of a configuration, each with its agent.

        Raises:
            ConfigError: One names a tool that its agent has not.
        """
        return [self._settled(job) for job in config.jobs]

    def _settled(self, job: Definition) -> Definition:
        try:
            return settled(job, self._agents)
        except BadRequest as error:
            raise ConfigError(f"[[jobs]] {job.name}: {error.message}", hint=error.hint) from None

    def tools_of(self, agent: str, wanted: Sequence[str] | None) -> Sequence[str]:
        """Return which tools a job that an agent makes gets: the wanted ones, by default those that only read.

        It is never more than the agent has itself.
        """
        tools = self._agents[agent].tools
        return (
            list(tools.reading().names)
            if wanted is None
            else [name for name in wanted if name in tools.names]
        )

    def _checked(self, values: Table) -> Definition:
        try:
            definition = section(Definition, values, ("jobs",), Path())
        except WrongError as error:
            raise BadRequest(str(error).removeprefix("[jobs] "), hint=error.hint) from None
        found = problem(definition)
        if found is not None:
            raise BadRequest(": ".join(filter(None, (found.key, found.what))), hint=found.hint)
        way, _, name = definition.deliver.partition(":")
        if way == "webhook" and name not in self._webhooks:
            raise BadRequest(f"deliver: there is no webhook {name!r}", hint=f"add [webhooks.{name}]")
        return settled(definition, self._agents)

    def _check_future(self, definition: Definition) -> None:
        if definition.at and instant(definition.at) <= self._clock.now():
            raise BadRequest(f"at: {definition.at!r} is over")


def settled(definition: Definition, agents: Mapping[str, Agent]) -> Definition:
    """Return a definition with its agent, whose tools are looked at.

    Raises:
        AgentNotFound: There is no such agent.
        BadRequest: It has no such tool.
    """
    name = definition.agent or next(iter(agents))
    if name not in agents:
        raise AgentNotFound(f"there is no agent {name[:80]!r}", hint=f"there is: {', '.join(agents)}"[:300])
    known = agents[name].tools.names
    for key, tools in (("allow_tools", definition.allow_tools), ("tools", definition.tools or ())):
        unknown = next((tool for tool in tools if tool not in known), None)
        if unknown is not None:
            hint = f"there is: {', '.join(sorted(known)) or 'none'}"
            raise BadRequest(f"{key}: the agent {name!r} has no tool {unknown!r}", hint=hint)
    return msgspec.structs.replace(definition, agent=name)
