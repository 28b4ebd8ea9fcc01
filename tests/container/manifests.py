"""Checks what packaging/container says to engines and to Kubernetes, as far as it can be checked without them.

    python3 tests/container/manifests.py [COMPOSE-VALUE]

Order: Kubernetes' published schemas, what the manifests must agree on among themselves, those of HTTPS laid over them, the Compose specification, the
seccomp profile. With COMPOSE-VALUE (`tests.command`, a path below `services`) that value is printed as JSON, and
nothing is checked. A line for each check; the exit status is 0 if all are good. Needs the Python packages
kubernetes-validate and compose-spec.
"""

import copy
import functools
import json
import pathlib
import sys
import tomllib

import yaml

CONTAINER = pathlib.Path(__file__).resolve().parents[2] / "packaging/container"
KUBERNETES = CONTAINER / "kubernetes"
HTTPS = CONTAINER / "kubernetes-https"

# The oldest release with all that is used, and the newest that the schemas are known of.
RELEASES = ("1.30", "1.37")

# The profile of the engines whose file Debian's containers-common installs.
ENGINE_PROFILE = pathlib.Path("/usr/share/containers/seccomp.json")
IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}


def main():
    compose = yaml.safe_load((CONTAINER / "compose.yaml").read_text())
    if len(sys.argv) > 1:
        value = functools.reduce(dict.__getitem__, sys.argv[1].split("."), compose["services"])
        print(json.dumps(value))
        return 0
    failures = 0
    for check in (schemas, agreement, https, composition, profile):
        try:
            print(f"ok      {check()}")
        except AssertionError as error:
            failures += 1
            print(f"FAILED  {check.__name__}: {error}")
    return 1 if failures else 0


def manifests():
    files = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
    return {path.name: yaml.safe_load(path.read_text()) for path in files}


def is_valid(manifest, release):
    import kubernetes_validate

    try:
        kubernetes_validate.validate(manifest, release, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error.message
    return None


def schemas():
    for release in RELEASES:
        for name, manifest in manifests().items():
            wrong = is_valid(manifest, release)
            assert wrong is None, f"{name}, Kubernetes {release}: {wrong}"
        # What is wrong must be seen, or the above means nothing.
        misspelt = copy.deepcopy(manifests()["deployment.yaml"])
        misspelt["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
        assert is_valid(misspelt, release), f"a misspelt key is valid for Kubernetes {release}"
    return f"{len(manifests())} manifests are valid for Kubernetes {' and '.join(RELEASES)}"


def agreement():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    all_of_them = manifests()
    assert sorted(kustomization["resources"]) == list(all_of_them), "the kustomization does not name all files"
    deployment = all_of_them["deployment.yaml"]
    template = deployment["spec"]["template"]
    pod = template["spec"]
    labels = template["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        all_of_them["service.yaml"]["spec"]["selector"],
        all_of_them["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items(), f"{selector} selects no pod with {labels}"
    target = all_of_them["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"]), "the autoscaler's target"
    assert "replicas" not in deployment["spec"], "each apply would undo what the autoscaler did"
    (container,) = pod["containers"]
    named = {port["name"] for port in container["ports"]}
    assert all_of_them["service.yaml"]["spec"]["ports"][0]["targetPort"] in named, "the service's port"
    assert pod["volumes"][0]["configMap"]["name"] == all_of_them["configmap.yaml"]["metadata"]["name"], "the volume"
    image = (CONTAINER / "Containerfile").read_text()
    assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}\n" in image, "the user"
    settings = {}
    for text in all_of_them["configmap.yaml"]["data"].values():
        settings |= tomllib.loads(text)
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    drain = before + settings["drain_delay"] + settings["drain_timeout"]
    assert drain < pod["terminationGracePeriodSeconds"], f"a drain of {drain} seconds is cut"
    probe = container["readinessProbe"]
    noticed = (probe["failureThreshold"] + 1) * probe["periodSeconds"]
    assert noticed <= settings["drain_delay"], "readiness is not seen to be withdrawn within drain_delay"
    return "the manifests agree on labels, ports, names, user and times"


def laid_over(base, patch):
    """A strategic merge, as far as it is used: lists of named things are joined by their names."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: laid_over(base[key], value) if key in base else value for key, value in patch.items()}
    if isinstance(base, list) and isinstance(patch, list):
        named = {one["name"]: one for one in base}
        for one in patch:
            named[one["name"]] = laid_over(named[one["name"]], one) if one["name"] in named else one
        return list(named.values())
    return patch


def https():
    kustomization = yaml.safe_load((HTTPS / "kustomization.yaml").read_text())
    assert [(HTTPS / one).resolve() for one in kustomization["resources"]] == [KUBERNETES], "what they are laid over"
    patches = {one["path"]: yaml.safe_load((HTTPS / one["path"]).read_text()) for one in kustomization["patches"]}
    assert {path.name for path in HTTPS.glob("*.yaml")} == {"kustomization.yaml", *patches}, "not all files are named"
    bases = manifests()
    for name, patch in patches.items():
        assert (patch["kind"], patch["metadata"]["name"]) == (bases[name]["kind"], bases[name]["metadata"]["name"]), name
    merged = {name: laid_over(bases[name], patch) for name, patch in patches.items()}
    for release in RELEASES:
        for name, manifest in merged.items():
            wrong = is_valid(manifest, release)
            assert wrong is None, f"{name} with HTTPS, Kubernetes {release}: {wrong}"
    pod = merged["deployment.yaml"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in merged["service.yaml"]["spec"]["ports"]} == set(ports), "the service's ports"
    settings = tomllib.loads(patches["configmap.yaml"]["data"]["60-https.conf"])
    assert settings["listen"] == [f"{ports['http']}", f"{ports['https']} tls"], "the addresses"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for volume in pod["volumes"]:
        assert volume["name"] in mounts, f"the volume {volume['name']} is not mounted"
    # A secret of the type kubernetes.io/tls has these two files.
    files = {f"{mounts['certificate']}/tls.crt", f"{mounts['certificate']}/tls.key"}
    assert set(settings["tls"].values()) == files, "the files of the pair"
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"], "who may read the key"
    return "the manifests of HTTPS are valid over the others, and agree with them"


def composition():
    import compose_spec

    text = (CONTAINER / "compose.yaml").read_text()
    try:
        compose_spec.PyCompose.from_yaml(text)
    except ValueError as error:
        raise AssertionError(error) from error
    try:
        compose_spec.PyCompose.from_yaml(text.replace("read_only", "raed_only"))
    except ValueError:
        pass
    else:
        raise AssertionError("a misspelt key is valid")
    services = yaml.safe_load(text)["services"]
    paths = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    paths += [option.split("=")[1] for option in services["server"]["security_opt"] if "=" in option]
    for path in paths:
        assert (CONTAINER / path).exists(), f"there is no {path}"
    return "compose.yaml is valid, and what it names is there"


def profile():
    def allowed(calls):
        return {name for call in calls if call["action"] == "SCMP_ACT_ALLOW" for name in call["names"]}

    ours = json.loads((CONTAINER / "seccomp.json").read_text())
    assert ours["defaultAction"] == "SCMP_ACT_ERRNO", "what is not named is allowed"
    assert IO_URING <= allowed(ours["syscalls"]), "io_uring is not allowed"
    names = [name for call in ours["syscalls"] for name in call["names"] if not call["args"]]
    assert len(names) == len(set(names)), "a call is named twice"
    if not ENGINE_PROFILE.exists():
        return "the seccomp profile allows io_uring (there is no engine's profile here to compare with)"
    engine = json.loads(ENGINE_PROFILE.read_text())["syscalls"]
    unconditional = [call for call in engine if not (call.get("includes") or {}).get("caps")]
    more = allowed(ours["syscalls"]) - allowed(unconditional) - IO_URING
    assert not more, f"the engine's default does not allow {', '.join(sorted(more))}"
    return "the seccomp profile allows io_uring, and nothing else that the engine's default does not"


if __name__ == "__main__":
    sys.exit(main())
