"""Prints a JUnit report as a CI system's parser (expat) finds it, as JSON: the suites' numbers, and a list a test.

junit.py FILE
"""

import json
import sys
import xml.etree.ElementTree as ElementTree


def main(path: str) -> int:
    root = ElementTree.parse(path).getroot()
    assert root.tag == "testsuites", root.tag
    [suite] = root
    numbers = {key: suite.get(key) for key in ("name", "tests", "failures", "errors")}
    assert float(suite.get("time")) >= 0
    for key in ("tests", "failures", "errors"):
        assert root.get(key) == suite.get(key), key
    tests = []
    for case in suite.findall("testcase"):
        told = [[child.tag, child.get("message") or child.text] for child in case]
        tests.append([case.get("classname"), case.get("name"), *told])
    print(json.dumps({"suite": numbers, "tests": tests}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
