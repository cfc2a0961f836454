# What the steps of a plan are made of. POSIX sh. Every function returns 0 when its work is done, and sets dm_changed=1 where it
# changed something. dm_root is a prefix of the paths that it writes, empty except in tests.

dm_say() { printf '%s %s\n' "$dm_token" "$*"; }
dm_has() { command -v "$1" >/dev/null 2>&1; }
dm_note() { printf '%s\n' "$*"; }

# Seconds since boot, which no correction of the clock can change, in dm_now.
dm_clock() {
  if read -r dm_now _ 2>/dev/null </proc/uptime; then dm_now=${dm_now%%.*}; else dm_now=$(date +%s); fi
}

# Fails when the step's time is up; else dm_rest is what is left.
dm_in_time() {
  dm_clock
  dm_rest=$((dm_deadline - dm_now))
  [ "$dm_rest" -gt 0 ] && return 0
  dm_timed_out=limit
  return 1
}

# TEXT: tells that the step waits, at most every other second.
dm_waiting() {
  [ "$dm_now" -ge "$dm_next_word" ] || return 0
  dm_next_word=$((dm_now + 2))
  dm_say step "$dm_index" wait $((dm_limit - dm_rest)) "$dm_limit" "$*"
}

dm_pause() { sleep 0.25 2>/dev/null || sleep 1; }

# PID: stops a process and all that it started, and prints their ids, one a line. Each is stopped before its children are looked
# for: it could start another one in between.
dm_stop_tree() {
  kill -STOP "$1"
  # The signal takes effect a little later.
  for dm_n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    read -r _ dm_text 2>/dev/null <"/proc/$1/stat" || break
    case ${dm_text##*) } in [TtZX]*) break ;; esac
    if [ "$dm_n" -gt 10 ]; then dm_pause; fi
  done
  echo "$1"
  for dm_stat in /proc/[0-9]*/stat; do
    read -r dm_child dm_text 2>/dev/null <"$dm_stat" || continue
    # 812 (name) S PARENT ...
    dm_text=${dm_text##*) }
    dm_text=${dm_text#* }
    if [ "${dm_text%% *}" = "$1" ]; then (dm_stop_tree "$dm_child"); fi
  done
}

# COMMAND...: runs it for as long as the step has time, then ends it with all that it started. (timeout is not on every host, and
# busybox's ends only the command itself, whose children then keep the connection open.)
dm_run() {
  dm_in_time || return 124
  "$@" &
  dm_pid=$!
  (
    dm_n=$dm_rest
    while [ "$dm_n" -gt 0 ]; do
      sleep 1
      kill -0 "$dm_pid" 2>/dev/null || exit 0
      dm_n=$((dm_n - 1))
    done
    dm_tree=$(dm_stop_tree "$dm_pid")
    for dm_child in $dm_tree; do kill -TERM "$dm_child"; done
    for dm_child in $dm_tree; do kill -CONT "$dm_child"; done
    # A package manager is given some time to leave its data in order.
    for dm_n in 1 2 3 4 5 6 7 8 9 10; do
      dm_left=
      for dm_child in $dm_tree; do
        if kill -0 "$dm_child"; then dm_left="$dm_left $dm_child"; fi
      done
      [ -n "$dm_left" ] || exit 0
      sleep 1
    done
    for dm_child in $dm_left; do kill -KILL "$dm_child"; done
  ) >/dev/null 2>&1 &
  dm_watch=$!
  wait "$dm_pid"
  dm_status=$?
  if ! dm_in_time; then
    wait "$dm_watch"
    return 124
  fi
  # It would keep the connection open for its last second. This signal is the one that no shell has a word for.
  kill -PIPE "$dm_watch" 2>/dev/null
  return "$dm_status"
}

# INDEX LIMIT FUNCTION: runs one step and says what came of it.
dm_step() {
  dm_index=$1 dm_limit=$2 dm_timed_out='' dm_next_word=0
  dm_previous=$dm_changed dm_changed=0
  dm_clock
  dm_deadline=$((dm_now + dm_limit))
  dm_say step "$dm_index" start
  "$3"
  dm_code=$?
  if [ "$dm_code" -ne 0 ]; then
    dm_say step "$dm_index" failed "$dm_code" "$dm_timed_out"
    return 1
  fi
  if [ "$dm_changed" = 1 ]; then dm_say step "$dm_index" changed; else dm_say step "$dm_index" unchanged; fi
}

# Waiting.

dm_wait_cloud_init() {
  while [ "$(dm_cloud_init)" = running ]; do
    if ! dm_in_time; then
      dm_note "cloud-init is still at work: $dm_stage"
      return 1
    fi
    dm_stage=$(sed -n 's/.*"stage": *"\([^"]*\)".*/stage \1/p' "$dm_root/run/cloud-init/status.json" 2>/dev/null | head -n 1)
    dm_waiting "cloud-init is at work${dm_stage:+, }$dm_stage"
    dm_pause
  done
}

dm_wait_locks() {
  while dm_holders=$(dm_lock_holders) && [ -n "$dm_holders" ]; do
    dm_holders=$(printf '%s\n' "$dm_holders" | {
      dm_text=
      while read -r dm_a dm_b dm_c; do dm_text="$dm_text${dm_text:+, }$dm_c is held by $dm_b (pid $dm_a)"; done
      printf '%s' "$dm_text"
    })
    if ! dm_in_time; then
      dm_note "$dm_holders"
      return 1
    fi
    dm_waiting "$dm_holders"
    dm_pause
  done
  return 0
}

# PORT: whether something listens there. State 0A is LISTEN.
dm_listens() {
  dm_hex=$(printf '%04X' "$1")
  grep -qs ":$dm_hex [0-9A-F]*:0000 0A " "$dm_root/proc/net/tcp" "$dm_root/proc/net/tcp6"
}

dm_wait_port() {
  until dm_listens "$1"; do
    if ! dm_in_time || dm_engine_failed; then
      dm_note "nothing listens on port $1; the engine is $(dm_engine_state)"
      dm_engine_log
      return 1
    fi
    dm_waiting "nothing listens on port $1 yet; the engine is $(dm_engine_state)"
    dm_pause
  done
}
