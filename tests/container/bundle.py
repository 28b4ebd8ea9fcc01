"""Makes an OCI bundle of an image that is mounted, as an engine would for `run --read-only --cap-drop ALL`.

    python3 tests/container/bundle.py BUNDLE --root DIR --image CONFIG --network PATH [--profile FILE]
        [--else ACTION] [--without NAME --errno N] [--bind SOURCE:TARGET] [--argument=TEXT]

Order: reading what was typed, the seccomp profile in the runtime's form, the configuration of the runtime.

BUNDLE/config.json is written; CONFIG is what `buildah inspect --type image` says. --else is the action on calls that
the profile does not name, --without and --errno refuse one that it does; --without and --bind may be given several
times. The limits of the process are those that root may give where it may not raise its own.
"""

import argparse
import json
import pathlib
import resource

NAMESPACES = ("pid", "mount", "ipc", "uts")
OPEN_FILES = 16384
LOCKED_BYTES = 8 << 20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("--root", required=True)
    parser.add_argument("--image", required=True, type=pathlib.Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("--profile", type=pathlib.Path)
    parser.add_argument("--else", dest="otherwise")
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--errno", type=int, default=1)
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--argument", action="append", default=[])
    typed = parser.parse_args()
    image = json.loads(typed.image.read_text())["OCIv1"]["config"]
    profile = seccomp(typed) if typed.profile else None
    typed.bundle.mkdir(parents=True, exist_ok=True)
    config = configuration(typed, image, profile)
    (typed.bundle / "config.json").write_text(json.dumps(config, indent=1))


def seccomp(typed):
    """The profile in the runtime's form: engines' files tell of other architectures and of capabilities as well."""
    profile = json.loads(typed.profile.read_text())
    calls = []
    for call in profile["syscalls"]:
        includes, excludes = call.get("includes") or {}, call.get("excludes") or {}
        # The container is on x86-64 and has no capability.
        if includes.get("caps") or ("arches" in includes and "amd64" not in includes["arches"]):
            continue
        if "amd64" in excludes.get("arches", []):
            continue
        names = [name for name in call["names"] if name not in typed.without]
        kept = {"names": names, "action": call["action"]}
        if call.get("args"):
            kept["args"] = call["args"]
        if call.get("errnoRet") is not None:
            kept["errnoRet"] = call["errnoRet"]
        if names:
            calls.append(kept)
    if typed.without:
        calls.append({"names": typed.without, "action": "SCMP_ACT_ERRNO", "errnoRet": typed.errno})
    made = {"defaultAction": typed.otherwise or profile["defaultAction"], "syscalls": calls}
    if not typed.otherwise:
        made["defaultErrnoRet"] = profile.get("defaultErrnoRet", 1)
    # Engines' files have a table of kinships in its place.
    return made | {"architectures": profile.get("architectures", ["SCMP_ARCH_X86_64"])}


def configuration(typed, image, profile):
    user, group = (int(part) for part in image["User"].split(":"))
    binds = [bind.split(":") for bind in typed.bind]
    linux = {
        "namespaces": [{"type": name} for name in NAMESPACES] + [{"type": "network", "path": typed.network}],
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    }
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group},
            "args": image["Entrypoint"] + (typed.argument or image.get("Cmd") or []),
            "env": image["Env"],
            "cwd": image["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [limit("NOFILE", OPEN_FILES), limit("MEMLOCK", LOCKED_BYTES)],
        },
        "root": {"path": typed.root, "readonly": True},
        "hostname": "container",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
        ]
        + [
            {"destination": target, "type": "bind", "source": source, "options": ["rbind", "ro", "nosuid", "nodev"]}
            for source, target in binds
        ],
        "linux": linux | ({"seccomp": profile} if profile else {}),
    }


def limit(name, wanted):
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return {"type": f"RLIMIT_{name}", "hard": value, "soft": value}


if __name__ == "__main__":
    main()
