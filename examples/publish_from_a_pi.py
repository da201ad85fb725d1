"""Publishes sensor readings over MQTT from a Raspberry Pi: three messages, each acknowledged (QoS 1)."""

import json
import os
import time

import paho.mqtt.client as mqtt

AREA, DEVICE = "330483-d1", "wz-01"
TOPIC = f"towntwin/v1/{AREA}/{DEVICE}/data"

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=DEVICE, protocol=mqtt.MQTTv5)
client.username_pw_set(DEVICE, os.environ.get("PASSWORD"))
client.connect(os.environ["BROKER_HOST"], int(os.environ["BROKER_PORT"]))
client.loop_start()
for number in range(3):
    records = [
        {"bt": time.time(), "n": "ph", "u": "pH", "v": 7.4 + number / 100},
        {"n": "water_temperature", "u": "Cel", "v": 18.2},
    ]
    client.publish(TOPIC, json.dumps(records), qos=1).wait_for_publish(10)
    time.sleep(1)
client.disconnect()
client.loop_stop()
