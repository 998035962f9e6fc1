/**
 * Programs that send packets from a sandbox, as far as sockets allow it. Written in Python; targets are their
 * arguments.
 */

/** Sends to each target over every protocol with a socket, to two ports. Prints what could be sent. */
export const SEND = `
import socket, sys
UDP_LITE, SCTP, ECHO = 136, 132, 1
for target in sys.argv[1:]:
    family, _, _, _, address = socket.getaddrinfo(target, 53, type=socket.SOCK_DGRAM)[0]
    for kind, protocol in (
        (socket.SOCK_DGRAM, 0), (socket.SOCK_STREAM, 0), (socket.SOCK_DGRAM, UDP_LITE),
        (socket.SOCK_STREAM, SCTP), (socket.SOCK_DGRAM, ECHO),
    ):
        for port in 53, 9000:
            try:
                with socket.socket(family, kind, protocol) as one:
                    # By then the first packet is out.
                    one.settimeout(0.02)
                    if kind == socket.SOCK_DGRAM: one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    one.connect((address[0], port) + address[2:])
                    one.send(b'?')
                print(target, kind, protocol, port)
            except OSError: pass
`;

/**
 * Sends a packet to the argument with a record-route option. Older kernels also let anyone name routers that a packet
 * must pass (source routing).
 */
export const SEND_WITH_OPTIONS = `
import socket, sys
RECORD_ROUTE = bytes([7, 7, 4, 0, 0, 0, 0, 0])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, RECORD_ROUTE)
    one.sendto(b'?', (sys.argv[1], 9000))
print('sent')
`;

/** Sends to the first argument from each of the others. Prints those that the kernel allowed. */
export const SEND_AS_ANOTHER = `
import socket, sys
IP_FREEBIND, IP_TRANSPARENT = 15, 19
for name in sys.argv[2:]:
    for option in None, IP_FREEBIND, IP_TRANSPARENT:
        for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
            with socket.socket(socket.AF_INET, kind) as one:
                one.settimeout(0.2)
                try:
                    if option is not None: one.setsockopt(socket.IPPROTO_IP, option, 1)
                    one.bind((name, 0))
                    one.connect((sys.argv[1], 9000))
                    one.send(b'?')
                    if one.getsockname()[0] == name: print(name, option, kind, 'sent')
                except (ConnectionRefusedError, TimeoutError): print(name, option, kind, 'sent')
                except OSError: pass
`;

/** Sends to the first argument from the port given by the second. */
export const SEND_FROM_A_PORT = `
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(('', int(sys.argv[2])))
    one.sendto(b'?', (sys.argv[1], 9000))
`;
