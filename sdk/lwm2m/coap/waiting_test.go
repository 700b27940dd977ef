package coap

import (
	"net/netip"
	"testing"
)

func TestHellosWait(t *testing.T) {
	var w waiting
	address := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(i))
	}
	w.add(address(0), make([]byte, maxWaitingHello+1))
	for i := range 2 * maxWaitingHellos {
		w.add(address(i), []byte("first"))
	}
	w.add(address(0), []byte("again"))
	if len(w.order) != maxWaitingHellos || len(w.hellos) != maxWaitingHellos {
		t.Errorf("%d wait, of %d it is known", len(w.order), len(w.hellos))
	}
	if from, hello, ok := w.next(); !ok || from != address(0) || string(hello) != "again" {
		t.Errorf("the first is %v, %q", from, hello)
	}
	for a, h := range w.hellos {
		h.at = h.at.Add(-helloPatience)
		w.hellos[a] = h
	}
	if from, _, ok := w.next(); ok || len(w.order)+len(w.hellos) != 0 {
		t.Errorf("%v waits for ever", from)
	}
}
