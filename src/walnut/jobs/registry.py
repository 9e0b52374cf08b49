"""Which code the names on record stand for, in this process.

What must stay true: a name stands for one thing; what is not declared here is left alone until it is,
and is never taken for something else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from walnut.jobs.errors import InvalidTask, UnknownTask
from walnut.jobs.tasks import Arguments, Task


class Action:
    """A transaction function that timers call: `function(tx, *arguments)`.

    Made by `Jobs.action`, and by `Jobs.at` of functions at the top of a module."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.name = name
        self.arguments = Arguments(function, 1)

    def __call__(self, tx: Any, *args: Any) -> Any:
        """Call the function."""
        return self.function(tx, *args)


class Registry:
    """Tasks and actions by name.

    Attributes:
        tasks: those declared in this process.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, Task[..., Any]] = {}
        self._actions: dict[str, Action] = {}
        self._of_function: dict[Any, Action] = {}

    def add_task(self, task: Task[..., Any]) -> None:
        """Raises InvalidTask if another one has its name."""
        if self.tasks.setdefault(task.name, task) is not task:
            raise InvalidTask(f"there is a task {task.name} already: give this one another name")

    def task(self, name: str) -> Task[..., Any] | None:
        """The task of this name; None if it is not declared here."""
        return self.tasks.get(name)

    def need(self, name: str) -> Task[..., Any]:
        """The task of this name. Raises UnknownTask."""
        task = self.tasks.get(name)
        if task is None:
            raise UnknownTask(f"the task {name} is not declared in this process: import its module")
        return task

    def add_action(self, function: Callable[..., Any], name: str | None) -> Action:
        """Raises InvalidTask if the name is another's, or can't be found again after a restart."""
        if isinstance(function, Action):
            return function
        known = self._of_function.get(function)
        if known is not None and name in {None, known.name}:
            return known
        if name is None:
            name = f"{function.__module__}:{function.__qualname__}"
            if "<" in name or getattr(function, "__self__", None) is not None:
                raise InvalidTask(
                    f"{function.__qualname__} would not be found again after a restart: declare it "
                    "with a name, `jobs.action(function, name=...)`, whenever the program starts"
                )
        action = Action(function, name)
        if name in self._actions:
            raise InvalidTask(f"there is an action {name} already: give this one another name")
        self._actions[name] = self._of_function[function] = action
        return action

    def action(self, name: str) -> Action | None:
        """The action of this name: declared here, or at the top of a module that can be imported;
        None if it is neither."""
        action = self._actions.get(name)
        if action is not None:
            return action
        module, _, path = name.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
            return self.add_action(found, name) if callable(found) else None
        except Exception:  # importing runs whatever the module has; what fails is not declared
            return None
