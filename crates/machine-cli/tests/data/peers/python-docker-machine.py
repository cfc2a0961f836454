# Drives docker-machine with python-docker-machine and prints what it understood.
import json

from machine import Machine


def failure(method, *args):
    try:
        method(*args)
    except RuntimeError as error:
        return str(error)


machine = Machine()
said = {"version": machine.version()}
said["create"] = machine.create("p1", "none", xarg=["--url", "tcp://127.0.0.1:1"])
columns = ("Name", "Active", "DriverName", "State", "URL", "DockerVersion")
# The package takes the empty end of the last line for a machine.
said["ls"] = [[row[column] for column in columns] for row in machine.ls() if row["Name"]]
said["exists"] = [machine.exists("p1"), machine.exists("p")]
said["running"] = machine.status("p1")
said["inspect"] = machine.inspect("p1")["DriverName"]
said["url"] = machine.url("p1")
said["active"] = machine.active()
said["start"] = failure(machine.start, "p1")
said["stop"] = failure(machine.stop, "p1")
machine.rm("p1", force=True)
said["after rm -y -f"] = machine.exists("p1")
print(json.dumps(said))
