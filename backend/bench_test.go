package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// loadClient is one device of a benchmark, the same for the hub and for mosquitto.
type loadClient struct {
	conn net.Conn
	in   *bufio.Reader
	id   string
}

func dialLoad(b *testing.B, address, id, password string, filters ...string) *loadClient {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	c := &loadClient{conn, bufio.NewReaderSize(conn, 512), id}
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.ClientIdentifier, connect.CleanSession = "MQTT", 4, id, true
	connect.UsernameFlag, connect.Username = true, iothub.Username("bench", id)
	connect.PasswordFlag, connect.Password = true, []byte(password)
	answer, err := exchange(conn, c.in, connect)
	if ack, ok := answer.(*packets.ConnackPacket); err != nil || !ok || ack.ReturnCode != 0 {
		b.Fatal("not let in: ", answer, err)
	}
	if len(filters) > 0 {
		subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, filters, make([]byte, len(filters))
		if _, err := exchange(conn, c.in, subscribe); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

// dialMany connects n devices, several at once.
func dialMany(b *testing.B, address, password string, from, to int, filters ...string) []*loadClient {
	b.Helper()
	clients := make([]*loadClient, to-from)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range next {
				clients[i-from] = dialLoad(b, address, benchID(i), password, filters...)
			}
		})
	}
	for i := from; i < to; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	return clients
}

func benchID(i int) string { return fmt.Sprintf("bench%05d", i) }

func hangUp(clients []*loadClient) {
	for _, c := range clients {
		c.conn.Close()
	}
}

// drive has each client send so many packets, of which some may wait for their answer at once, and answers how many were
// answered in a second.
func drive(b *testing.B, clients []*loadClient, each, window int, make func(c *loadClient, n int) packets.ControlPacket) float64 {
	b.Helper()
	begin := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, c := range clients {
		wg.Go(func() {
			if err := c.drive(each, window, make); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed != nil {
		b.Fatal(failed)
	}
	return float64(len(clients)*each) / time.Since(begin).Seconds()
}

func (c *loadClient) drive(each, window int, make func(c *loadClient, n int) packets.ControlPacket) error {
	var out bytes.Buffer
	sent := 0
	send := func() error {
		out.Reset()
		sent++
		if err := make(c, sent).Write(&out); err != nil {
			return err
		}
		_, err := c.conn.Write(out.Bytes())
		return err
	}
	for sent < min(window, each) {
		if err := send(); err != nil {
			return err
		}
	}
	for answered := 0; answered < each; {
		p, err := packets.ReadPacket(c.in)
		if err != nil {
			return err
		}
		switch p := p.(type) {
		case *packets.PubackPacket:
		case *packets.PublishPacket:
			if !strings.HasPrefix(p.TopicName, "$iothub/twin/res/204/") {
				return fmt.Errorf("answered by %s %s", p.TopicName, p.Payload)
			}
		default:
			continue
		}
		if answered++; sent < each {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return nil
}

var benchPayload = bytes.Repeat([]byte("x"), 128)

// telemetryPacket is a message at QoS 1.
func telemetryPacket(c *loadClient, n int) packets.ControlPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.MessageID = iothub.TopicTelemetry(c.id), benchPayload, 1, uint16(n%0xffff)+1
	return p
}

// reportPacket changes the reported half of a twin.
func reportPacket(_ *loadClient, n int) packets.ControlPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = fmt.Sprint(iothub.TopicReported, n), fmt.Appendf(nil, `{"temperature":%d}`, n)
	return p
}

// process tells what a process has used.
type process struct{ pid int }

// memory is its resident set, in bytes.
func (p process) memory(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) * 1024
}

// time is its processor time.
func (p process) time(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100)
}

// startMosquitto runs a broker of others on loopback.
func startMosquitto(b *testing.B) (address string, p process) {
	b.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(program); err != nil {
		b.Skip("######## mosquitto is missing: NOT MEASURED against it. Run make deps. ########")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	config := filepath.Join(b.TempDir(), "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\npersistence false\nmax_connections -1\nuser root\nlog_type error\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	broker := exec.Command(program, "-c", config)
	broker.Stderr = b.Output()
	if err := broker.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		broker.Process.Kill()
		broker.Wait()
	})
	within(b, "mosquitto listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address, process{broker.Process.Pid}
}

// startBenchHub runs a hub with so many devices, and answers the password of each.
func startBenchHub(b *testing.B, devices int) (h *hubProcess, p process, password string) {
	b.Helper()
	h = startHubProcess(b, "")
	password, err := h.device.DeviceToken(time.Now().Add(24 * time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	var members []*member
	for i := range devices {
		members = append(members, &member{id: benchID(i)})
	}
	enrol(b, h, members)
	return h, process{h.Process.Pid}, password
}

// best is the best of three tries: the machine may be busy with other things.
func best(try func() float64) float64 {
	rates := []float64{try(), try(), try()}
	return slices.MaxFunc(rates, cmp.Compare[float64])
}

// BenchmarkAgainstMosquitto compares the hub, whose PUBACK means that the disk has the message, with a broker that keeps
// nothing, in one run with the same client. Everything is a ratio of the hub's to mosquitto's.
func BenchmarkAgainstMosquitto(b *testing.B) {
	const connections, idle = 100, 2000
	broker, brokerProcess := startMosquitto(b)
	h, hubProcess, password := startBenchHub(b, idle)
	for b.Loop() {
		theirs, ours := dialMany(b, broker, "", 0, connections), dialMany(b, h.mqtt, password, 0, connections, iothub.TopicTwinResponses)
		reference := best(func() float64 { return drive(b, theirs, 300, 8, telemetryPacket) })
		telemetry := best(func() float64 { return drive(b, ours, 100, 8, telemetryPacket) })
		twins := best(func() float64 { return drive(b, ours, 20, 8, reportPacket) })
		b.Logf("mosquitto %.0f/s at QoS 1; hub: telemetry %.0f/s, twin updates %.0f/s", reference, telemetry, twins)
		b.ReportMetric(telemetry/reference, "telemetry/mosquitto")
		b.ReportMetric(twins/reference, "twins/mosquitto")
		hangUp(theirs)
		hangUp(ours)
		perConnection := func(p process, address, password string) float64 {
			before := p.memory(b)
			clients := dialMany(b, address, password, 0, idle, iothub.TopicTwinResponses, iothub.TopicDesired, iothub.TopicMethods)
			defer hangUp(clients)
			time.Sleep(2 * time.Second) // until what came with connecting is collected
			return (p.memory(b) - before) / idle
		}
		own, other := perConnection(hubProcess, h.mqtt, password), perConnection(brokerProcess, broker, "")
		b.Logf("memory of an idle connection: hub %.1f kB, mosquitto %.1f kB", own/1e3, other/1e3)
		b.ReportMetric(own/other, "memory/mosquitto")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkManyDevices tells whether a device among ten thousand costs what one among a thousand does: in memory, and in
// processor time of a message and of a change of its twin. Everything is a ratio.
func BenchmarkManyDevices(b *testing.B) {
	const few, many, messages = 1000, 10_000, 20_000
	h, p, password := startBenchHub(b, many)
	type cost struct{ memory, telemetry, twin float64 }
	for b.Loop() {
		empty := p.memory(b)
		var clients []*loadClient
		measure := func(n int) (c cost) {
			clients = append(clients, dialMany(b, h.mqtt, password, len(clients), n, iothub.TopicTwinResponses)...)
			time.Sleep(2 * time.Second)
			c.memory = (p.memory(b) - empty) / float64(n)
			spent := func(total int, packet func(*loadClient, int) packets.ControlPacket) float64 {
				before := p.time(b)
				drive(b, clients, total/n, 1, packet)
				return float64(p.time(b)-before) / float64(total) / 1e3 // µs
			}
			c.telemetry, c.twin = spent(messages, telemetryPacket), spent(messages, reportPacket)
			return c
		}
		small, large := measure(few), measure(many)
		for n, c := range map[int]cost{few: small, many: large} {
			b.Logf("of %d devices each costs %.1f kB, a message of it %.0f µs of processor time, a change of its twin %.0f µs", n, c.memory/1e3, c.telemetry, c.twin)
		}
		b.ReportMetric(large.memory/small.memory, "memory/1000")
		b.ReportMetric(large.telemetry/small.telemetry, "telemetry/1000")
		b.ReportMetric(large.twin/small.twin, "twin/1000")
		hangUp(clients)
	}
	b.ReportMetric(0, "ns/op")
}
