#!/bin/sh
# A continuous job: says every five seconds that it lives, and ends in order.
#
# It shows both ways in which a job hears that it shall stop: the file named by
# WEBJOBS_SHUTDOWN_FILE appears, and SIGTERM comes. Kill it (`taak list` tells its pid): it is
# started again.
# Stop it: taak stop heartbeat; read it: taak logs heartbeat -f

stopping=
pause=
trap 'stopping=yes' TERM INT

seconds=0
echo "heartbeat starts"
while [ -z "$stopping" ] && [ ! -e "${WEBJOBS_SHUTDOWN_FILE:-/nowhere}" ]; do
    [ $((seconds % 5)) -eq 0 ] && echo "$(date -u +%H:%M:%S) alive for $seconds s"
    seconds=$((seconds + 1))
    # "wait" ends at once when a signal comes; a sleep in the foreground would delay it.
    sleep 1 &
    pause=$!
    wait "$pause"
done
kill "$pause" 2>/dev/null
echo "heartbeat stops after $seconds s"
