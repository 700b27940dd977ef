package hub

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// maxMessage is IoT Hub's limit of a message from a device.
const maxMessage = 256 << 10

var (
	errMalformed = errors.New("malformed packet")
	errTooLarge  = errors.New("packet is too large")
)

// maxPacket bounds the remaining length by packet type. Before a device is known it can only send a CONNECT, with a will
// of at most 64 KB.
func maxPacket(kind byte) int {
	switch kind {
	case packets.Publish:
		return maxMessage + 8<<10 // topic and property bag
	case packets.Connect:
		return 80 << 10
	default:
		return 8 << 10
	}
}

// readPacket reads one packet, whose length it checks first: the codec would allocate whatever the header claims.
func readPacket(r *bufio.Reader) (packets.ControlPacket, error) {
	kind, length, err := peekHeader(r)
	if err != nil {
		return nil, err
	}
	if length > maxPacket(kind) {
		return nil, errTooLarge
	}
	packet, err := packets.ReadPacket(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return packet, nil
}

// peekHeader reads type and remaining length (MQTT 3.1.1, section 2.2) without taking them.
func peekHeader(r *bufio.Reader) (kind byte, length int, err error) {
	for n := 2; n <= 5; n++ {
		header, err := r.Peek(n)
		if err != nil {
			return 0, 0, err
		}
		digit := header[n-1]
		length |= int(digit&0x7f) << (7 * (n - 2))
		if digit&0x80 == 0 {
			return header[0] >> 4, length, nil
		}
	}
	return 0, 0, errMalformed
}
