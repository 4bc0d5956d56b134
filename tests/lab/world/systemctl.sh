#!/bin/sh
# A stand-in for systemctl: one unit, redis-server, whose state is in /run/lab/unit.
unit=/run/lab/unit; conf=/etc/redis/redis.conf; log=/var/log/redis/unit.log
mkdir -p "$unit"

verb= name= only= value= quiet=
while [ $# -gt 0 ]; do
    case $1 in
    -p | --property) only=$2; shift ;;
    --property=*) only=${1#*=} ;;
    -p*) only=${1#-p} ;;
    --value) value=yes ;;
    -q | --quiet) quiet=yes ;;
    --now) now=yes ;;
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$1; else name=$1; fi ;;
    esac
    shift
done
name=${name%.service}

say() { [ -n "$quiet" ] || echo "$1"; }
known() { case $name in redis | redis-server) return 0 ;; *) return 1 ;; esac; }
pid() { cat "$unit/pid" 2>/dev/null; }
running() { [ -n "$(pid)" ] && [ -d "/proc/$(pid)" ] && ! grep -q '^State:.Z' "/proc/$(pid)/status" 2>/dev/null; }
stop() {
    if running; then
        kill "$(pid)"
        for _ in $(seq 200); do running || break; sleep 0.02; done
    fi
    rm -f "$unit/pid" "$unit/failed"
}
# Ready is when it listens or has ended, as with Type=notify.
start() {
    running && return 0
    [ -e "$unit/masked" ] && { echo "Failed to start $name.service: Unit $name.service is masked." >&2; return 1; }
    rm -f "$unit/failed"
    (cd /var/lib/redis && exec setsid redis-server "$conf" --supervised no --daemonize no >"$log" 2>&1 </dev/null) &
    echo $! >"$unit/pid"
    # Whose process it is, its control group says.
    echo "0::/system.slice/redis-server.service" >"$unit/cgroup"
    mount --bind "$unit/cgroup" "/proc/$(pid)/cgroup"
    for _ in $(seq 250); do
        running || break
        ls -l "/proc/$(pid)/fd" 2>/dev/null | grep -q socket: && { sleep 0.05; running && return 0; }
        sleep 0.02
    done
    rm -f "$unit/pid"
    echo 1 >"$unit/failed"
    echo "Job for redis-server.service failed because the control process exited with error code." >&2
    return 1
}
show() {
    load=loaded active=inactive sub=dead result=success main=0 status=0 file=enabled
    known || load=not-found file=
    [ -e "$unit/disabled" ] && file=disabled
    [ -e "$unit/masked" ] && load=masked file=masked
    [ -e "$unit/failed" ] && active=failed sub=failed result=exit-code status=1
    if known && running; then active=active sub=running main=$(pid); fi
    path=/lib/systemd/system/redis-server.service
    known || path=
    for line in Id=redis-server.service Names=redis-server.service Type=notify LoadState=$load ActiveState=$active SubState=$sub \
        UnitFileState=$file Result=$result MainPID=$main ExecMainPID=$main ExecMainStatus=$status ExecMainCode=$status NRestarts=0 \
        FragmentPath=$path; do
        key=${line%%=*}
        [ -z "$only" ] || case ",$only," in *",$key,"*) ;; *) continue ;; esac
        if [ -n "$value" ]; then echo "${line#*=}"; else echo "$line"; fi
    done
}

case $verb in
daemon-reload | reset-failed) exit 0 ;;
is-system-running) echo running; exit 0 ;;
show) show; exit 0 ;;
esac
case $verb in start | stop | restart | reload-or-restart | try-restart | enable | disable | mask | unmask | cat | status)
    known || { echo "Failed to $verb $name.service: Unit $name.service not found." >&2; exit 5; } ;;
esac
case $verb in
start) start ;;
stop) stop ;;
restart | reload-or-restart) stop; start ;;
try-restart) if running; then stop; start; fi ;;
enable) rm -f "$unit/disabled"; [ -z "$now" ] || start ;;
disable) : >"$unit/disabled"; [ -z "$now" ] || stop ;;
mask) : >"$unit/masked" ;;
unmask) rm -f "$unit/masked" ;;
is-active) if known && running; then say active; elif [ -e "$unit/failed" ]; then say failed; exit 3; else say inactive; exit 3; fi ;;
is-enabled) if [ -e "$unit/masked" ]; then say masked; exit 1; elif [ -e "$unit/disabled" ]; then say disabled; exit 1; else say enabled; fi ;;
is-failed) if [ -e "$unit/failed" ]; then say failed; else say inactive; exit 1; fi ;;
cat) cat /lib/systemd/system/redis-server.service ;;
status) show; running || exit 3 ;;
list-units | list-unit-files) running && echo "redis-server.service loaded active running Advanced key-value store" ; exit 0 ;;
*) echo "Unknown operation $verb." >&2; exit 1 ;;
esac
