package fleet

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A peer is another update agent, as Debian packages it, which waits for updates
// as ours does. The script runs in a directory of its own, in a mount namespace of
// its own, and ends as the agent, of which {server} is the server.
type peer struct {
	program, script string
	answered        bool // by the server, when it has begun to wait
}

// peers are compared with the agent. Those that have no key of their own for what is
// signed are given one: they refuse to start without.
var peers = []peer{
	{"mender", `
mkdir data identity etc
echo 'artifact_name=1' >etc/artifact_info
echo 'device_type=device' >data/device_type
printf '#!/bin/sh\necho mac=02:00:00:00:00:01\n' >identity/mender-device-identity
chmod +x identity/mender-device-identity
echo '{"ServerURL": "{server}", "UpdatePollIntervalSeconds": 300, "InventoryPollIntervalSeconds": 300}' >mender.conf
mount --bind identity /usr/share/mender/identity
mount --bind etc /etc/mender
exec mender --no-syslog --config mender.conf --data data daemon`, true},
	{"swupdate", `
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=peer 2>openssl.log
echo 'globals: { loglevel = 3; }; identify: ({ name = "device"; value = "1"; });' >swupdate.cfg
exec swupdate -f swupdate.cfg -k cert.pem -B none -H device:1.0 -u "-t default -i device -u {server} -p 300"`, true},
	{"rauc", `
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=peer 2>openssl.log
truncate -s 1M A B
printf '[system]\ncompatible=device\nbootloader=noop\nmountprefix=%s/mnt\n[keyring]\npath=cert.pem\n[slot.rootfs.0]\ndevice=%s/A\ntype=raw\nbootname=A\n[slot.rootfs.1]\ndevice=%s/B\ntype=raw\nbootname=B\n' "$PWD" "$PWD" "$PWD" >system.conf
echo '<busconfig><type>system</type><listen>unix:path='"$PWD"'/bus</listen><auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>' >bus.conf
dbus-daemon --config-file=bus.conf --fork --nopidfile --print-pid >bus.pid
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$PWD/bus
exec rauc -c system.conf service --override-boot-slot=A`, false},
}

// start starts a peer and waits until its server has answered it.
func (p peer) start(b *testing.B) []int {
	if _, err := exec.LookPath(p.program); err != nil {
		b.Skipf("######## NOT MEASURED: %s is not installed (apt-get install mender-client swupdate rauc) ########", p.program)
	}
	var answers atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r); answers.Add(1) }))
	b.Cleanup(server.Close)
	dir := b.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	cmd := exec.CommandContext(b.Context(), "unshare", "--mount", "sh", "-ec", strings.ReplaceAll(p.script, "{server}", server.URL))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if cmd.Wait(); b.Failed() {
			text, _ := os.ReadFile(log.Name())
			b.Logf("%s", text)
		}
		endBus(dir)
	})
	for deadline := time.Now().Add(time.Minute); filepath.Base(programOf(cmd.Process.Pid)) != p.program || p.answered && answers.Load() == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s does not wait for updates", p.program)
		}
	}
	return descendants(cmd.Process.Pid)
}

// endBus ends the system bus of a peer that needs one.
func endBus(dir string) {
	text, _ := os.ReadFile(filepath.Join(dir, "bus.pid"))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		syscall.Kill(pid, syscall.SIGTERM)
	}
}

// answer is what the servers of the peers say as long as there is no update: that
// of Mender (its device API, versions 1 and 2) and hawkBit (its direct device
// integration API).
func answer(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/authentication/auth_requests"):
		io.WriteString(w, "token")
	case strings.Contains(path, "/controller/v1/"):
		json.NewEncoder(w).Encode(map[string]any{"config": map[string]any{"polling": map[string]any{"sleep": "00:05:00"}}})
	case strings.Contains(path, "/inventory/"):
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
