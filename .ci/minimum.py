"""Print every lower bound of setup.cfg as a constraint for pip: `name >= 1.2` as `name == 1.2`."""

import configparser
import re
from pathlib import Path

setup = configparser.ConfigParser()
setup.read(Path(__file__).parents[1] / "setup.cfg")
needed = "\n".join([setup["options"]["install_requires"], *setup["options.extras_require"].values()])
for name, version in sorted(set(re.findall(r"^([\w-]+)(?:\[\w+\])? >= ([\d.]+)$", needed, re.MULTILINE))):
    print(f"{name} == {version}")
