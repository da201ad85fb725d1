#!/bin/sh
# Runs once, when the database's volume is empty: makes the database, its owner and a user for each process.
set -eu
PGPASSWORD=$(cat /etc/towntwin/superuser.password)
export PGPASSWORD
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres --file /etc/towntwin/initialise.sql
