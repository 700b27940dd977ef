package fetch

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// An impairedPath forwards datagrams between clients and one server; some it
// loses, doubles or delivers after the next one.
type impairedPath struct {
	front *net.UDPConn
	to    *net.UDPAddr
	loss  float64
	done  sync.WaitGroup

	mu    sync.Mutex
	dice  *rand.Rand
	flows map[string]*net.UDPConn // socket towards the server, by client
}

func newImpairedPath(t *testing.T, server string, seed uint64, loss float64) string {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &impairedPath{front: front, to: to, loss: loss, dice: rand.New(rand.NewPCG(seed, 1)), flows: map[string]*net.UDPConn{}}
	p.done.Go(p.up)
	t.Cleanup(p.close)
	return front.LocalAddr().String()
}

func (p *impairedPath) close() {
	p.front.Close()
	p.mu.Lock()
	for _, c := range p.flows {
		c.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}

// up carries from clients to the server.
func (p *impairedPath) up() {
	carry := map[string]func([]byte){}
	buf := make([]byte, 2048)
	for {
		n, from, err := p.front.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if carry[from.String()] == nil {
			back, err := net.DialUDP("udp", nil, p.to)
			if err != nil {
				continue
			}
			p.mu.Lock()
			p.flows[from.String()] = back
			p.mu.Unlock()
			carry[from.String()] = p.impair(func(b []byte) { back.Write(b) })
			p.done.Go(func() { p.down(back, from) })
		}
		carry[from.String()](buf[:n])
	}
}

// down carries from the server to one client.
func (p *impairedPath) down(back *net.UDPConn, client *net.UDPAddr) {
	carry := p.impair(func(b []byte) { p.front.WriteToUDP(b, client) })
	buf := make([]byte, 2048)
	for {
		n, err := back.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			carry(buf[:n])
		}
	}
}

func (p *impairedPath) impair(send func([]byte)) func([]byte) {
	var held []byte
	return func(b []byte) {
		p.mu.Lock()
		fate := p.dice.Float64()
		p.mu.Unlock()
		switch {
		case fate < p.loss:
			return
		case fate < 2*p.loss:
			send(b)
			send(b)
		case fate < 3*p.loss && held == nil:
			held = append([]byte{}, b...)
			return
		default:
			send(b)
		}
		if held != nil {
			send(held)
			held = nil
		}
	}
}
