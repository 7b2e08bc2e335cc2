// ShellBackend: small servers written in the shell, which start in a millisecond and do exactly what a test wants.

/// Texts of scripts for `RunningDaemon.Backend.script`.
enum ShellBackend {
  /// A server that answers everything.
  ///
  /// - Parameters:
  ///   - opening: commands before anything is read; says the greeting. `$SSL_PROTOCOL` is set after the handshake only.
  ///   - answers: patterns of the client's lines and the commands that answer them, before the usual ones.
  static func script(_ opening: String = "say '220 backend ESMTP'", answers: [(String, String)] = []) -> String {
    let own = answers.map { "    \($0)) \($1) ;;\n" }.joined()
    return """
      say() { printf '%s\\r\\n' "$@"; }
      cr=$(printf '\\r')
      \(opening)
      while IFS= read -r line; do
        line=${line%"$cr"}
        case $line in
      \(own)
          EHLO*) say '250-backend' '250 SIZE 1000' ;;
          DATA*) say '354 go on'; while IFS= read -r line && [ "$line" != ".$cr" ]; do :; done; say '250 stored' ;;
          QUIT*) say '221 bye'; exit ;;
          *) say '250 done' ;;
        esac
      done

      """
  }

  /// Greets once in clear; after the handshake it does something else.
  static func afterTheHandshake(_ commands: String) -> String {
    script("if [ -n \"$SSL_PROTOCOL\" ]; then \(commands); exit; fi; say '220 backend ESMTP'")
  }
}
