"""Writes the components of a package of the workspace as CycloneDX: each crate that is built for it on any system, with version, licence,
checksum and place in the graph. Needs the Python package cyclonedx-python-lib[json-validation].

usage: sbom.py PACKAGE FILE    SOURCE_DATE_EPOCH is the time in the file
"""
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

name, file = sys.argv[1:]
command = ["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"]
metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
# The graph has features that other members of the workspace switch on. The tree has those of this package, on every system.
command = ["cargo", "tree", "--locked", "--package", name, "--all-features", "--target", "all"]
command += ["--edges", "normal,build", "--prefix", "none", "--format", "{p}"]
tree = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
built = {tuple(line.split()[:2]) for line in tree.splitlines()}
lock = tomllib.loads(pathlib.Path("Cargo.lock").read_text())
checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}


def component(package, kind):
    checksum = checksums[package["name"], package["version"]]
    return Component(
        type=kind,
        name=package["name"],
        version=package["version"],
        bom_ref=f"{package['name']}@{package['version']}",
        # Some crates still separate alternatives in the old way.
        licenses=[LicenseFactory().make_from_string(package["license"].replace("/", " OR "))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
        purl=PackageURL("cargo", None, package["name"], package["version"]) if checksum else None,
    )


def is_built(dependency):
    return any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"])


def is_in_tree(package):
    return (packages[package]["name"], "v" + packages[package]["version"]) in built


root = next(package for package in metadata["packages"] if package["name"] == name)
is_program = any("bin" in target["kind"] for target in root["targets"])
bom = Bom()
bom.metadata.component = component(root, ComponentType.APPLICATION if is_program else ComponentType.LIBRARY)
bom.metadata.timestamp = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {root['version']} {os.environ['SOURCE_DATE_EPOCH']}")
made, waiting = {root["id"]: bom.metadata.component}, [root["id"]]
while waiting:
    at = waiting.pop()
    needed = [dependency["pkg"] for dependency in nodes[at]["deps"] if is_built(dependency)]
    needed = sorted(package for package in needed if is_in_tree(package))
    for found in needed:
        if found not in made:
            made[found] = component(packages[found], ComponentType.LIBRARY)
            bom.components.add(made[found])
            waiting.append(found)
    bom.register_dependency(made[at], [made[found] for found in needed])

if len(made) != len(built):
    sys.exit(f"{len(made)} packages in the graph, {len(built)} in the tree of {name}")
text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if fault:
    sys.exit(f"not valid: {fault}")
pathlib.Path(file).write_text(text + "\n")
print(f"{file}: {len(bom.components)} components, valid CycloneDX 1.6")
