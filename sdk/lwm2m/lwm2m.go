// Package lwm2m is OMA Lightweight M2M 1.0 and 1.1: the device's side ([Client])
// and the management server's side ([Server]).
//
// One idea carries the package: whatever is read, written or notified is a flat
// list of [Record], each a [Path] such as /3303/0/5700 with a [Value]. Codecs
// turn that list into a payload and back; a [Definition] says which type and
// which operations a resource has.
//
// A device implements [Object] once per object and hands them to a [Client],
// which registers, answers the server and notifies. A [Server] keeps the table
// of registered devices and gives each as a [Device] to read, write, execute and
// observe. Neither knows a network: both speak [Message] through a [Transport],
// and sub-package coap binds them to CoAP over UDP.
package lwm2m

import (
	"context"
	"time"
)

// Record is one value at one place: the universal content of reads, writes and
// notifications. Path names a resource or, where the resource is multiple, a
// resource instance. Time is when the value was measured; zero means "now", and
// only SenML can carry it (with a resolution of a millisecond, and not before July
// 1978: the value is then one of "now").
type Record struct {
	Path  Path
	Value Value
	Time  time.Time
}

// WriteMode says what happens to resources that a write does not name.
type WriteMode uint8

const (
	// Replace sets the target to exactly what is written (PUT).
	Replace WriteMode = iota
	// Update leaves what is not named as it was (POST, "partial update").
	Update
)

// Object is one LwM2M object of a device, with all its instances. The Client
// calls it from several goroutines at once.
//
// The Client has checked each call against the Definition: the instance exists,
// the operation is allowed, written values have the resource's kind. An error
// that is an [*Error] is answered with its code, any other with 5.00.
type Object interface {
	// Definition is constant.
	Definition() Definition
	// Instances lists the ids of the instances there are now. After a change
	// call [Client.ObjectsChanged].
	Instances() []uint16
	// Read gives the values under p: an instance, a resource or a resource
	// instance. It may give more than asked, the Client takes what lies under p.
	Read(ctx context.Context, p Path) ([]Record, error)
	// Write sets the records, all under p: an instance, a resource or a resource
	// instance. It takes all of them or none.
	Write(ctx context.Context, p Path, mode WriteMode, records []Record) error
	// Execute starts the resource p and returns when it is accepted; an outcome
	// that takes longer shows in other resources. Arguments are as received
	// (OMA LwM2M 1.1 section 6.4.5), most often empty.
	Execute(ctx context.Context, p Path, arguments string) error
}
