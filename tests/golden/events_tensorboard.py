#!/usr/bin/env python3
"""Makes `events_tensorboard.bin`: the event file that TensorBoard's own writer makes of a few scalars, which ours must equal byte by byte.

    events_tensorboard.py            writes events_tensorboard.bin beside this script
    events_tensorboard.py FILE       prints what TensorBoard's reader finds in an event file, one scalar a line

Needs tensorboard (from PyPI).
"""
import os, sys
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

if len(sys.argv) > 1:
    for event in LegacyEventFileLoader(sys.argv[1]).Load():
        for value in event.summary.value:
            print(event.step, value.tag, value.simple_value)
        if event.HasField("session_log"):
            print(event.step, "session", event.session_log.status)
    sys.exit()

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "events_tensorboard.bin")
with open(path, "wb") as file:
    writer = RecordWriter(file)
    writer.write(Event(wall_time=1700000000.25, file_version="brain.Event:2").SerializeToString())
    writer.write(Event(wall_time=1700000000.25, step=301, session_log=SessionLog(status=SessionLog.START)).SerializeToString())
    values = [Summary.Value(tag="valid/purchase/full/auc", simple_value=0.8125), Summary.Value(tag="train/purchase", simple_value=0.1)]
    writer.write(Event(wall_time=1700000001.5, step=300, summary=Summary(value=values)).SerializeToString())
    values = [Summary.Value(tag="train/click", simple_value=-2.5)]
    writer.write(Event(wall_time=1700000002.0, step=7_000_000_000, summary=Summary(value=values)).SerializeToString())
