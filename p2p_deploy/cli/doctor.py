"""``p2p doctor``."""

from __future__ import annotations

import typer

from p2p_deploy.cli._output import JsonOptions, print_json


def doctor(output: JsonOptions) -> None:
    """Check which runtimes, GPUs and codecs work on this machine, and say how to fix what does not.

    The exit code is 1 only if ONNX files cannot be run.
    """
    from p2p_deploy.diagnosis import diagnose

    findings = diagnose()
    if output.as_json:
        print_json(findings)
    else:
        for finding in findings:
            print(f"{'ok' if finding.ok else '--':3} {finding.name:24} {finding.detail}")
            if finding.fix and not finding.ok:
                print(f"    {'':24} fix with: {finding.fix}")
    if not all(finding.ok for finding in findings if finding.required):
        raise typer.Exit(1)
