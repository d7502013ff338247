"""Every command by its name, and those that are refused, with what to write instead."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from . import console, copies, files, listing, search, waiting
from .shell import Shell, Status

Command = Callable[[Shell, str], Status]

COMMANDS: Mapping[str, Command] = {
    "cd": files.change_folder,
    "chcp": console.code_page,
    "chdir": files.change_folder,
    "cls": console.nothing,
    "color": console.nothing,
    "copy": copies.copy,
    "date": waiting.date,
    "del": files.delete,
    "dir": listing.list_folder,
    "echo": console.echo,
    "endlocal": console.end_local,
    "erase": files.delete,
    "find": search.find,
    "findstr": search.findstr,
    "hostname": console.host_name,
    "md": files.make_folder,
    "mkdir": files.make_folder,
    "more": listing.show_file,
    "move": copies.move,
    "path": console.path,
    "pause": waiting.pause,
    "ping": waiting.ping,
    "popd": files.pop_folder,
    "pushd": files.push_folder,
    "rd": files.remove_folder,
    "ren": copies.rename,
    "rename": copies.rename,
    "rmdir": files.remove_folder,
    "set": console.set_variable,
    "setlocal": console.set_local,
    "time": waiting.time_of_day,
    "timeout": waiting.timeout,
    "title": console.nothing,
    "type": listing.show_file,
    "ver": console.version,
    "verify": console.nothing,
    "where": listing.where,
    "xcopy": copies.xcopy,
}

_SHELL_SCRIPT = "Write these steps in a run.sh."
REFUSED: Mapping[str, str] = {
    "assoc": "Start files by their program, as in python x.py.",
    "at": "Give the job a schedule in its settings.job.",
    "attrib": "Files have no such attributes here. Leave it out, or use chmod.",
    "break": "Leave it out.",
    "cacls": "Use chmod.",
    "choice": "A job has no input. Decide by an app setting.",
    "cscript": "Port the script to PowerShell, Python or Node.js.",
    "ftype": "Start files by their program, as in python x.py.",
    "icacls": "Use chmod.",
    "iisreset": "There is no IIS here.",
    "mklink": "Use ln -s.",
    "msiexec": "Install programs on the machine.",
    "net": _SHELL_SCRIPT,
    "prompt": "Leave it out.",
    "reg": "There is no registry here. Use app settings.",
    "robocopy": "Write xcopy SOURCE TARGET /e /i /y.",
    "runas": "A job runs as one user.",
    "sc": "There are no Windows services here. Make it a continuous job.",
    "schtasks": "Give the job a schedule in its settings.job.",
    "setx": "Write set, or an app setting.",
    "subst": "There are no drives here. Use the folder's path.",
    "taskkill": "Use kill.",
    "tasklist": "Use ps.",
    "vol": "There are no drives here.",
    "wmic": "Use PowerShell 7 (pwsh), or the tools of Linux.",
    "wscript": "Port the script to PowerShell, Python or Node.js.",
}
_CONTROL = {"call", "cmd", "exit", "goto", "shift", "start"}
#: Programs on Windows, not a part of cmd: they may be called by a path, and with .exe.
_TOOLS = {"cmd", "find", "findstr", "hostname", "more", "ping", "timeout", "where", "xcopy"}
_KNOWN = {*COMMANDS, *REFUSED, *_CONTROL}
_GLUED = re.compile(r"([A-Za-z]+)([.\\/:+(\[\]\"].*)", re.DOTALL)
_NAME = re.compile(r'(?:"[^"]*"?|[^\s,;="])+')


def split_name(text: str) -> tuple[str, str]:
    """Split a command into its name and all the rest; `echo.` and `cd..` are two words each."""
    found = _NAME.match(text)
    if not found:
        return "", text
    name = found[0]
    glued = _GLUED.fullmatch(name)
    if glued and glued[1].lower() in _KNOWN and not os.path.isfile(name):
        return glued[1], text[len(glued[1]) :]
    return name, text[len(name) :]


def command_name(name: str) -> str:
    """Return the name to look a command up by."""
    low = name.lower().replace('"', "").replace("\\", "/")
    base = low.rpartition("/")[2].removesuffix(".exe")
    is_tool = base in _TOOLS or (base in REFUSED and low.endswith(".exe"))
    return base if is_tool and not os.path.isfile(low) else low
