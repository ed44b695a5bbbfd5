@echo off
rem Copy a channel so that its readers see a complete one at any instant:
rem     sync.cmd SOURCE DEST [GRACE]
rem Packages go first, then metadata, the manifest last; then, after GRACE seconds (5), what is not
rem needed any more. Metadata is written beside its place and renamed. Cut off, run it again.
rem Needs robocopy, which every Windows has. Ends with 0, or 6 when DEST is not as SOURCE.
rem
rem robocopy ends with a sum of 1 files copied, 2 more files there, 4 mismatched; 8 some not copied,
rem 16 nothing done. 0 to 7 is success. /Z goes on where it was cut off, /FFT allows FAT's 2 s.
setlocal EnableExtensions DisableDelayedExpansion

if "%~2"=="" goto usage
if not exist "%~1\repack\manifest.json" goto usage
for %%P in ("%~1\.") do set "source=%%~fP"
for %%P in ("%~2\.") do set "dest=%%~fP"
set "grace=%~3"
if not defined grace set "grace=5"
set "stage=%dest%\.repack-sync"
set "how=/FFT /Z /R:5 /W:2 /COPY:DT /DCOPY:T /NP /NJH /NJS /NDL /NFL"
set "litter=/XF ._* .DS_Store Thumbs.db desktop.ini /XD .cache __pycache__ .repack-sync .repack-partial"

if exist "%dest%\repack\manifest.json" goto ours
if not exist "%dest%\*" goto ours
for /f "delims=" %%F in ('dir /b /a "%dest%" 2^>nul ^| findstr /v /i /x "noarch repack win-64 linux-64 .repack-sync"') do goto strange
:ours

rem /S and a list of names: packages only, straight to their places, for nothing names them yet
robocopy "%source%" "%dest%" *.conda *.tar.bz2 /S %how% %litter%
if errorlevel 8 goto failed

if exist "%stage%" rd /s /q "%stage%"
robocopy "%source%" "%stage%" /S %how% /XF *.conda *.tar.bz2 ._* .DS_Store Thumbs.db desktop.ini /XD .cache __pycache__ .repack-sync
if errorlevel 8 goto failed

rem what clients read first, and the manifest, wait until the rest is there
for /f "delims=" %%F in ('dir /b /s /a-d "%stage%" ^| findstr /v /i "\\repodata.json \\repack\\manifest.json"') do call :switch "%%F"
for /f "delims=" %%F in ('dir /b /s /a-d "%stage%" ^| findstr /v /i "\\repack\\manifest.json"') do call :switch "%%F"
for /f "delims=" %%F in ('dir /b /s /a-d "%stage%"') do call :switch "%%F"
if exist "%stage%" rd /s /q "%stage%"

set "different="
for /f "delims=" %%F in ('dir /b /s /a-d "%source%"') do call :compare "%%F"
if defined different exit /b 6

rem ping waits everywhere; timeout wants a console
set /a pings=grace+1
ping -n %pings% 127.0.0.1 >nul
robocopy "%source%" "%dest%" /MIR %how% %litter%
if errorlevel 8 goto failed
echo %dest% is as %source%
exit /b 0

:switch
set "file=%~1"
call set "path_in=%%file:%stage%\=%%"
for %%P in ("%dest%\%path_in%") do if not exist "%%~dpP" md "%%~dpP"
move /y "%~1" "%dest%\%path_in%" >nul
exit /b

:compare
set "file=%~1"
call set "path_in=%%file:%source%\=%%"
echo %~nx1| findstr /i /b "._ .DS_Store Thumbs.db desktop.ini" >nul && exit /b
fc /b "%~1" "%dest%\%path_in%" >nul 2>nul
if errorlevel 1 (
    set "different=1"
    echo error: not as in the source, run again: %path_in% 1>&2
)
exit /b

:strange
echo error: "%dest%" holds other things; name a folder of its own 1>&2
exit /b 2

:failed
echo error: robocopy could not copy everything; run again 1>&2
exit /b 6

:usage
echo usage: sync.cmd SOURCE DEST [GRACE]    SOURCE holds repack\manifest.json 1>&2
exit /b 2
