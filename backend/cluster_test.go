package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// fleetSize is how many devices are connected when a hub is killed.
const fleetSize = 500

// hubProcess is a hub of its own process.
type hubProcess struct {
	*exec.Cmd
	mqtt          string
	owner, device iothub.ConnectionString
	client        *iothub.Client
}

func startHubProcess(t testing.TB, store string) *hubProcess {
	t.Helper()
	data := t.TempDir()
	config := filepath.Join(data, "hub.toml")
	text := fmt.Sprintf("data = %q\n[hub]\nmqtt = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nstore = %q\n[web]\nhttps = \"127.0.0.1:0\"\n", data, store)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h := &hubProcess{Cmd: exec.Command("tranquil-backend", "hub", "--config", config)}
	log, err := os.Create(filepath.Join(data, "log"))
	if err != nil {
		t.Fatal(err)
	}
	h.Stderr = log
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Process.Kill()
		h.Wait()
		if t.Failed() {
			warnings, _ := os.ReadFile(log.Name())
			for line := range strings.SplitSeq(string(warnings), "\n") {
				if !strings.Contains(line, "level=INFO") {
					t.Log(line)
				}
			}
		}
	})
	var endpoints endpoints
	var credentials credentials
	within(t, "the hub listens", func() bool {
		text, err := os.ReadFile(filepath.Join(data, "endpoints.json"))
		return err == nil && json.Unmarshal(text, &endpoints) == nil
	})
	keys, err := os.ReadFile(filepath.Join(data, "credentials.json"))
	if err := errors.Join(err, json.Unmarshal(keys, &credentials)); err != nil {
		t.Fatal(err)
	}
	h.mqtt = endpoints.Hub.MQTT
	if h.owner, err = iothub.ParseConnectionString(credentials.Owner); err != nil {
		t.Fatal(err)
	}
	if h.device, err = iothub.ParseConnectionString(credentials.Device); err != nil {
		t.Fatal(err)
	}
	h.client = iothub.NewClient(h.owner)
	return h
}

func within(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// member is a device that reports a number that grows, to whichever hub is there, and answers methods.
type member struct {
	id, password string
	hubs         []string
	subscribed   bool         // once: its session keeps that, at whichever hub
	acknowledged atomic.Int64 // the last number that the hub has acknowledged
}

// live connects, again and again, until ctx is done.
func (m *member) live(ctx context.Context) {
	for turn := 0; ctx.Err() == nil; turn++ {
		m.session(ctx, m.hubs[turn%len(m.hubs)])
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (m *member) session(ctx context.Context, address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.ClientIdentifier = "MQTT", 4, m.id
	connect.UsernameFlag, connect.Username = true, iothub.Username(address, m.id)
	connect.PasswordFlag, connect.Password = true, []byte(m.password)
	in := bufio.NewReader(conn)
	answer, err := exchange(conn, in, connect)
	if ack, ok := answer.(*packets.ConnackPacket); err != nil || !ok || ack.ReturnCode != 0 {
		return errors.Join(errors.New("not let in"), err)
	}
	if !m.subscribed {
		subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, []string{iothub.TopicTwinResponses, iothub.TopicMethods}, []byte{0, 0}
		if _, err := exchange(conn, in, subscribe); err != nil {
			return err
		}
		m.subscribed = true
	}
	return m.report(conn, in)
}

func exchange(conn net.Conn, in *bufio.Reader, p packets.ControlPacket) (packets.ControlPacket, error) {
	if err := p.Write(conn); err != nil {
		return nil, err
	}
	return packets.ReadPacket(in)
}

// report reports the next number, and a second after it was acknowledged the one after that.
func (m *member) report(conn net.Conn, in *bufio.Reader) error {
	next := m.acknowledged.Load() + 1
	send := func() error {
		return publish(conn, fmt.Sprint(iothub.TopicReported, next), fmt.Sprintf(`{"n":%d}`, next))
	}
	if err := send(); err != nil {
		return err
	}
	var mu sync.Mutex // of writes
	for {
		packet, err := packets.ReadPacket(in)
		if err != nil {
			return err
		}
		p, ok := packet.(*packets.PublishPacket)
		if !ok {
			continue
		}
		if _, rid, isMethod := strings.Cut(p.TopicName, "/methods/POST/who/?$rid="); isMethod {
			mu.Lock()
			err = publish(conn, fmt.Sprintf("%s200/?$rid=%s", iothub.TopicMethodResponses, rid), fmt.Sprintf("%q", m.id))
			mu.Unlock()
			if err != nil {
				return err
			}
		}
		if strings.HasPrefix(p.TopicName, fmt.Sprintf("$iothub/twin/res/204/?$rid=%d&", next)) {
			m.acknowledged.Store(next)
			next++
			time.AfterFunc(time.Second, func() {
				mu.Lock()
				defer mu.Unlock()
				send() // an error ends reading too
			})
		}
	}
}

func publish(conn net.Conn, topic, payload string) error {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = topic, []byte(payload)
	var packet bytes.Buffer
	if err := p.Write(&packet); err != nil {
		return err
	}
	_, err := conn.Write(packet.Bytes())
	return err
}

// enrol registers devices, a hundred at once.
func enrol(t testing.TB, h *hubProcess, members []*member) {
	t.Helper()
	for len(members) > 0 {
		n := min(100, len(members))
		var wishes []map[string]string
		for _, m := range members[:n] {
			wishes = append(wishes, map[string]string{"id": m.id, "importMode": "create"})
		}
		body, err := json.Marshal(wishes)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.owner.HTTPURL()+"/devices?api-version=1", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		token, err := h.owner.ServiceToken(time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
		members = members[n:]
	}
}

// TestHubIsKilled kills one of two hubs on one store while devices are connected to both and write. All come to the other
// one, with the subscriptions that they had; no write that was acknowledged is lost; methods reach their device wherever
// it is, from either hub; and the device that stays away is known to be away.
func TestHubIsKilled(t *testing.T) {
	t.Parallel()
	nats, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, SyncAlways: true, StoreDir: t.TempDir(), MaxPayload: 4 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	defer nats.WaitForShutdown()
	defer nats.Shutdown()
	first, second := startHubProcess(t, nats.ClientURL()), startHubProcess(t, nats.ClientURL())
	password, err := second.device.DeviceToken(time.Now().Add(time.Hour)) // the keys of both are the same
	if err != nil {
		t.Fatal(err)
	}
	var members []*member
	for i := range fleetSize {
		hubs := []string{first.mqtt, second.mqtt}
		if i%2 == 1 {
			hubs = []string{second.mqtt, first.mqtt}
		}
		members = append(members, &member{id: fmt.Sprintf("dev%03d", i), password: password, hubs: hubs})
	}
	loyal := members[0] // knows one hub only, which is to be killed
	loyal.hubs = loyal.hubs[:1]
	enrol(t, first, members)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, m := range members {
		wg.Go(func() { m.live(ctx) })
	}
	reported := func(least map[*member]int64) func() bool {
		return func() bool {
			for m, n := range least {
				if m.acknowledged.Load() <= n {
					return false
				}
			}
			return true
		}
	}
	begin := map[*member]int64{}
	for _, m := range members {
		begin[m] = 0
	}
	within(t, "all devices report", reported(begin))
	call := func(h *hubProcess, id string) {
		t.Helper()
		answer, err := h.client.CallMethod(t.Context(), id, iothub.Method{Name: "who", ConnectTimeout: time.Minute})
		if err != nil || string(answer.Payload) != `"`+id+`"` {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, h := range []*hubProcess{first, second} { // each has devices of its own and of the other
		for _, m := range members[:4] {
			call(h, m.id)
		}
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	kept := map[*member]int64{}
	for _, m := range members[1:] {
		kept[m] = m.acknowledged.Load()
	}
	within(t, "all devices have come to the other hub", reported(kept))
	t.Logf("%d devices write again %v after one of two hubs was killed", len(kept), time.Since(killed).Round(time.Millisecond))
	for _, m := range members[1:6] {
		call(second, m.id)
	}
	for _, m := range members {
		n := m.acknowledged.Load()
		twin, err := second.client.Twin(t.Context(), m.id)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := twin.Properties.Reported["n"].(float64); int64(got) < n {
			t.Errorf("%s: %v was acknowledged, the twin has %v", m.id, n, got)
		}
	}
	cancel()
	within(t, "who stays away is known to be away", func() bool {
		d, err := second.client.Device(t.Context(), loyal.id)
		return err == nil && d.ConnectionState == "Disconnected"
	})
}
