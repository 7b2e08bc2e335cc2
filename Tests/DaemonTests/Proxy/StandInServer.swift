// StandInServer: a UCSPI-TLS server for tests, strict where others may be lax, and faulty where a test wants it.
//
// A Python script in place of s6-ucspitlsd or ucspi-ssl. It makes the channels, starts a helper, and executes a program.
// Its TLS is none: the handshake is one line each way, and then octets are copied between the client and the channels.
// That way a test sees which way octets go, and the helper can insist on what a real one needs.
//
// Called with words that say how it is to behave, separated by commas, a file that it notes things in, and the program:
//
//   ssl          the server is the program's parent and says so in the environment (ucspi-ssl); otherwise the helper is
//                detached and the program keeps the process (s6)
//   one, two     the data runs over one socket, or over two, instead of pipes;  all: over the control socket itself
//   strict       the client's connection must be blocking when the command comes
//   keep         the control socket stays open after the report, and its end ends the program (ucspi-ssl)
//   drip         the report comes octet by octet
//   bare         the report has names without `=`;  none: it has no names;  huge: it has more than 64 KiB;  odd: `=x`
//   before, asked, during, after   the helper dies: at once, at the command, in its report, after it
//   chatty       the helper speaks before it is asked
//   silent       the helper never reports
//   refuse       the handshake fails
//
// The helper's process number is in a file named as the notes with `.helper` after it. At SIGUSR1, before the command,
// the helper notes whether its control socket has ended.

enum StandInServer {
  static let script = """
    import fcntl, os, select, signal, socket, stat, sys, time

    words, log, program = sys.argv[1].split(','), sys.argv[2], sys.argv[3:]
    on = lambda word: word in words

    def note(text):
        with open(log, 'a') as file:
            file.write(text + '\\n')

    ours, theirs = socket.socketpair()
    if on('all'):
        readers = writers = (theirs.fileno(), ours.fileno())
    elif on('one'):
        a, b = socket.socketpair()
        readers = writers = (a.detach(), b.detach())
    elif on('two'):
        (a, b), (c, d) = socket.socketpair(), socket.socketpair()
        readers, writers = (a.detach(), b.detach()), (c.detach(), d.detach())
    else:
        (a, b), (c, d) = os.pipe(), os.pipe()
        readers, writers = (a, b), (d, c)
    # The program's end first, the helper's second.

    def serve_program():
        for number in {theirs.fileno(), readers[0], writers[0]}:
            os.set_inheritable(number, True)
        os.environ.update(SSLCTLFD=str(theirs.fileno()), SSLREADFD=str(readers[0]), SSLWRITEFD=str(writers[0]))
        os.environ['UCSPITLS'] = ''
        if on('ssl'):
            os.environ.update(PROTO='TLS', SSLREMOTEIP='192.0.2.7', SSLREMOTEPORT='4711', SSLLOCALIP='192.0.2.1', SSLLOCALPORT='25')
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvp(program[0], program)

    def help(child):
        for number in {theirs.fileno(), readers[0], writers[0]}:
            os.close(number)
        def end(text, code=0):
            note(text)
            if child:
                os.kill(child, signal.SIGTERM)
            os._exit(code)
        def asked(*_):
            try:
                note('control has octets' if ours.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) else 'control ended')
            except BlockingIOError:
                note('control open')
        signal.signal(signal.SIGUSR1, asked)
        if on('chatty'):
            ours.send(b'hello')
        with open(log + '.helper', 'w') as file:
            file.write(f'{os.getpid()}\\n')
        if on('before'):
            os._exit(0)
        command = ours.recv(1)
        if not command:
            end('declined')
        note('command ' + command.decode())
        if on('asked'):
            end('died')
        blocking = not fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK
        note('blocking' if blocking else 'not blocking')
        if on('strict') and not blocking:
            end('refused', 97)
        hello = b''
        while not hello.endswith(b'\\n'):
            octet = os.read(0, 1)
            if not octet:
                end('the client ended in the handshake', 98)
            hello += octet
        if hello != b'\\x16TLS?\\r\\n' or on('refuse'):
            note('hello ' + repr(hello))
            os.write(1, b'ALERT\\r\\n')
            end('the handshake failed', 98)
        os.write(1, b'TLS!\\r\\n')
        report = b'SSL_PROTOCOL=TLSv1.3\\0SSL_CIPHER=TEST_CIPHER\\0SSL_TLS_SNI_SERVERNAME=mx.example\\0'
        if on('bare'):
            report = b'SSL_PROTOCOL=TLSv1.3\\0SSL_CIPHER=TEST_CIPHER\\0SSL_TLS_SNI_SERVERNAME\\0SSL_PEER_CERT_HASH\\0'
        if on('none'):
            report = b'\\0'
        if on('odd'):
            report = b'=x\\0'
        if on('huge'):
            report += b'SSL_X=' + b'x' * 70000 + b'\\0'
        report += b'\\0'
        if on('during'):
            ours.send(report[:30])
            end('died')
        if on('silent'):
            report = b''
        try:
            if on('drip'):
                for octet in report:
                    ours.send(bytes([octet]))
                    time.sleep(0.002)
            else:
                ours.sendall(report)
        except OSError:
            end('the report was not read', 98)
        if on('after'):
            end('died')
        if not on('keep') and not on('all') and not on('silent'):
            ours.close()
        relay(end)

    def end_sending(number):
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            try:
                socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_WR)
            except OSError:
                pass
        else:
            os.close(number)

    def relay(end):
        source, target = writers[1], readers[1]
        wanted = {0, source} | ({ours.fileno()} if on('keep') else set())
        while 0 in wanted or source in wanted:
            for number in select.select(wanted, [], [])[0]:
                if number == source:
                    octets = os.read(source, 65536)
                    if octets:
                        try:
                            os.write(1, octets)
                        except OSError:
                            wanted.discard(source)
                    else:
                        wanted.discard(source)
                        end_sending(1)
                elif number == 0:
                    try:
                        octets = os.read(0, 65536)
                        if octets:
                            os.write(target, octets)
                    except OSError:
                        octets = b''
                    if not octets:
                        wanted.discard(0)
                        end_sending(target)
                elif not ours.recv(1):
                    wanted.discard(number)
                    end('the control socket ended')
        end('relayed')

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if on('ssl'):
        child = os.fork()
        if child:
            help(child)
    else:
        between = os.fork()
        if not between:
            if not os.fork():
                help(None)
            os._exit(0)
        os.waitpid(between, 0)
    serve_program()
    """
}
